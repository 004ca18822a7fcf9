"""Give the receiver a registry user of its own. Run in the container while MLflow serves; safe to repeat.

It may change every model and experiment, and no user: MANAGE for models, because MLflow asks for that where an alias
is deleted; EDIT for experiments, where evidence is stored beside a version's run.
"""

import os
import sys

from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

WORKSPACE = "default"
RIGHTS = {"registered_model": "MANAGE", "experiment": "EDIT"}


def main(uri: str, user: str, password: str) -> None:
    """Make the user, its role and the role's rights, as far as they are not there; its password is set each time."""
    client = AuthServiceClient(uri)
    try:
        client.get_user(user)
    except MlflowException:
        client.create_user(user, password)
    else:
        client.update_user_password(user, password)
    role = next((found for found in client.list_roles(WORKSPACE) if found.name == user), None)
    role = role or client.create_role(workspace=WORKSPACE, name=user)
    granted = {permission.resource_type for permission in client.list_role_permissions(role.id)}
    for kind in RIGHTS.keys() - granted:
        client.add_role_permission(role.id, kind, "*", RIGHTS[kind])
    if role.id not in {found.id for found in client.list_user_roles(user)}:
        client.assign_role(user, role.id)


if __name__ == "__main__":
    os.environ["MLFLOW_TRACKING_USERNAME"] = os.environ["MLFLOW_ADMIN_USERNAME"]
    os.environ["MLFLOW_TRACKING_PASSWORD"] = os.environ["MLFLOW_ADMIN_PASSWORD"]
    main("http://127.0.0.1:5000", sys.argv[1], os.environ["RECEIVER_PASSWORD"])
