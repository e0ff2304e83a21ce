"""What the real DVC has pushed to a bucket of S3, Azure or Google Cloud comes over, with the cache gone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.backups.conftest import BUCKET, S3, azure, gcs, s3, s3_server
from tests.cli.conftest import Command, project, retrodict
from tests.dvc.conftest import Shell, made, shell_with

__all__ = ["azure", "gcs", "project", "retrodict", "s3", "s3_server"]  # fixtures

PUSH = "for c in $(git rev-list --all); do git checkout -q $c; dvc push -q -r there; done; git checkout -q main"


@pytest.fixture
def pushing(tmp_path: Path) -> Shell:
    """Run a command with a DVC that knows buckets."""
    home = tmp_path / "home"
    home.mkdir()
    kept = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "STORAGE_EMULATOR_HOST", "AWS_SHARED_CREDENTIALS_FILE")
    return shell_with(made("dvc-buckets"), home, {name: os.environ[name] for name in kept if name in os.environ})


def comes_over(repository: Path, retrodict: Command) -> None:
    assert retrodict("init").code == 0
    shutil.rmtree(repository / ".dvc" / "cache")
    assert retrodict("import", "dvc", repository, "--no-remotes").code == 1
    done = retrodict("import", "dvc", repository, "--json")
    assert (done.code, done.record["missing"]) == (0, []), done.out + done.err
    assert retrodict("cat", "data.csv@v1").out == "id,x\n1,a\n2,b\n"
    assert retrodict("ls", "images@v2").code == 0


def test_s3_by_an_end_point_and_a_profile(
    repository: Path, retrodict: Command, s3: S3, pushing: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = tester\naws_secret_access_key = secret\n")
    pushing(
        f"dvc remote add -q --local there s3://{BUCKET}/dvc/two; dvc remote modify -q --local there endpointurl "
        f"http://127.0.0.1:{s3.proxy}; {PUSH}; dvc remote modify -q --local there profile team",
        repository,
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    comes_over(repository, retrodict)


def test_azure(
    repository: Path, retrodict: Command, azure: str, pushing: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, key, end = (
        os.environ[name]
        for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURITE_BLOB_STORAGE_URL")
    )
    said = f"DefaultEndpointsProtocol=http;AccountName={name};AccountKey={key};BlobEndpoint={end}/{name};"
    pushing(
        "dvc remote add -q --local there azure://team/dvc; "
        f"dvc remote modify -q --local there connection_string '{said}'; {PUSH}",
        repository,
    )
    for variable in [variable for variable in os.environ if variable.startswith("AZUR")]:
        monkeypatch.delenv(variable)
    comes_over(repository, retrodict)


def test_google_cloud(
    repository: Path, retrodict: Command, gcs: S3, pushing: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    push = shell_with(made("dvc-buckets"), home, {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{gcs.port}"})
    push(f"dvc remote add -q --local there gs://team/dvc; {PUSH}", repository)
    comes_over(repository, retrodict)
