"""``pinrail down``: end the model servers, keep everything that was recorded."""

from receiver.adapters.sqlite.state_lock import exclusive
from receiver.core.state import Role
from receiver.settings import Settings
from receiver.wiring import build_target

LAST = (Role.CANDIDATE, Role.STANDBY, Role.LIVE)


def end_all(settings: Settings) -> str:
    """Retire every model server, those with traffic last; says which.

    Rejected: a receiver runs on this state directory; it would only start them again.
    """
    with exclusive(settings.pinrail_state_dir):
        target = build_target(settings)
        servers = sorted(target.observe(), key=lambda server: LAST.index(server.role))
        for server in servers:
            target.retire(server)
    return "\n".join(f"ended {s.spec.slot} v{s.spec.version} ({s.role})" for s in servers) or "no model server runs"
