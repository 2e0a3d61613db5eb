"""The mock under its own address: azureml-core with a list of clouds."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_azureml_core_with_a_list_of_clouds(mock, tmp_path):
    environment = os.environ | {
        "HOME": str(tmp_path),
        "AZURE_CONFIG_DIR": str(tmp_path / "azure"),
        "ARM_CLOUD_METADATA_URL": f"{mock.arm_tls}/metadata/endpoints?api-version=2019-05-01",
    }
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("own_address.py")],
        input=json.dumps(mock.ports), env=environment, capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["workspace"] == mock.workspace
    assert result["services"] == ["aci-key", "aci-open", "aks-key", "aks-token"]
    assert tuple(result["keys"]) == mock.keys("aks-key")
    assert result["scored"] == result["token_scored"] == {"result": ["virginica"]}
