"""azureml-core against the mock at its own address, in a process of its own: the list of clouds is read at import.

Prints one JSON document. Its ServicePrincipalAuthentication cannot be used this way (it asks login.microsoftonline.com whether it
knows the authority), so a token comes from adal.
"""

import json
import sys

from adal import AuthenticationContext
from azureml.core import Webservice, Workspace
from azureml.core.authentication import ArmTokenAuthentication

ports = json.load(sys.stdin)
context = AuthenticationContext(f"{ports['entra_tls']}/{ports['tenant']}", validate_authority=False)
token = context.acquire_token_with_client_credentials(
    "https://management.core.windows.net/", ports["client_id"], ports["client_secret"]
)
workspace = Workspace.get(
    ports["workspace"],
    auth=ArmTokenAuthentication(token["accessToken"]),
    subscription_id=ports["subscription"],
    resource_group=ports["resource_group"],
)
result = {"workspace": workspace.name, "services": sorted(one.name for one in Webservice.list(workspace))}
service = Webservice(workspace, "aks-key")
result["keys"] = service.get_keys()
result["scored"] = service.run(json.dumps({"data": [[6.7, 3.0, 5.2, 2.3]]}))
result["token_scored"] = Webservice(workspace, "aks-token").run(json.dumps({"data": [[6.7, 3.0, 5.2, 2.3]]}))
print(json.dumps(result))
