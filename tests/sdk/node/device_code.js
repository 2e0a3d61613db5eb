// Sign-in on a device with adal-node. Prints the codes, then the tokens, one JSON document a line.
const { AuthenticationContext } = require("adal-node");

const [authority, tenant, clientId] = process.argv.slice(2);
const resource = "https://management.azure.com/";
const context = new AuthenticationContext(`${authority}/${tenant}`, false);
const fail = (error) => {
  console.log(JSON.stringify({ error: error.message }));
  process.exit(1);
};

context.acquireUserCode(resource, clientId, "en-us", (error, codes) => {
  if (error) return fail(error);
  console.log(JSON.stringify({ userCode: codes.userCode, message: codes.message, verificationUrl: codes.verificationUrl }));
  context.acquireTokenWithDeviceCode(resource, clientId, codes, (error, token) => {
    if (error) return fail(error);
    context.acquireTokenWithRefreshToken(token.refreshToken, clientId, resource, (error, again) => {
      if (error) return fail(error);
      console.log(JSON.stringify({ userId: token.userId, changed: again.accessToken !== token.accessToken }));
    });
  });
});
