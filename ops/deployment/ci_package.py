"""Write the deployment package for a CI pipeline, and list the commands that apply it."""

import json
import shlex
import shutil
from pathlib import Path

from chalicelib.settings import Settings
from ops import stages
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.deployment import deploy, overlay, policies, provision
from ops.deployment import package as packaging


def package(settings: Settings, folder: Path) -> Outcome:
    """
    Write deployment.zip, sam.json and overlay.json to the folder.

    Also configure the functions, and write their policies where `chalice package` reads them. A pipeline can then run
    `chalice package` with the overlay.
    """
    if settings.cdn != "none":
        raise OperatorError(f"CDN={settings.cdn} requires `deploy`, which manages the CDN's secret.")
    folder.mkdir(parents=True, exist_ok=True)
    for file in packaging.package(settings, stages.local_folder() / f"package-{settings.stage}").iterdir():
        shutil.copy(file, folder)
    text = json.dumps(overlay.render(settings), indent=2)
    (folder / "overlay.json").write_text(f"{text}\n", encoding="utf-8")
    policies.write(settings, stages.PROJECT / ".chalice")
    stages.configure_functions(settings)
    files = [str(folder / name) for name in ("deployment.zip", "sam.json", "overlay.json")]
    commands = _commands(settings, folder)
    return Outcome({"files": files, "commands": commands}, [f"Written: {', '.join(files)}. To deploy:", *commands])


def _commands(settings: Settings, folder: Path) -> list[str]:
    data, application = provision.stack_name(settings.stage), deploy.stack_name(settings.stage)
    template, packaged = shlex.quote(str(folder / "sam.json")), shlex.quote(str(folder / "packaged.yaml"))
    query = "Stacks[0].Outputs[?OutputKey=='ArtifactsBucket'].OutputValue"
    return [
        f'BUCKET=$(aws cloudformation describe-stacks --stack-name {data} --query "{query}" --output text)',
        f"aws cloudformation package --template-file {template} --s3-bucket $BUCKET --output-template-file {packaged}",
        f"aws cloudformation deploy --template-file {packaged} --s3-bucket $BUCKET "
        f"--stack-name {application} --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND "
        f"--tags application=counter stage={settings.stage} --no-fail-on-empty-changeset",
    ]
