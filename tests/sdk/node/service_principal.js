// The Node.js example of Azure's guide: a token for the resource manager by a service principal, with adal-node.
// Prints one JSON document: the token, or the error.
const { AuthenticationContext } = require("adal-node");

const [authority, tenant, clientId, secret] = process.argv.slice(2);
const validateAuthority = authority.startsWith("https://login.microsoftonline.com");
const context = new AuthenticationContext(`${authority}/${tenant}`, validateAuthority);

context.acquireTokenWithClientCredentials("https://management.azure.com/", clientId, secret, (error, token) => {
  console.log(JSON.stringify(error ? { error: error.message } : token));
});
