"""``pinrail down``: stop the model servers; all records stay."""

from receiver.adapters.sqlite.state_lock import exclusive
from receiver.core.state import Role
from receiver.settings import Settings
from receiver.wiring import build_target

STOP_ORDER = (Role.CANDIDATE, Role.STANDBY, Role.LIVE)


def stop_servers(settings: Settings) -> str:
    """Stop every model server, those with traffic last. Returns which, one per line.

    Rejected: a receiver runs on this state directory; it would start them again.
    """
    with exclusive(settings.pinrail_state_dir):
        target = build_target(settings)
        servers = sorted(target.observe(), key=lambda server: STOP_ORDER.index(server.role))
        for server in servers:
            target.retire(server)
    return (
        "\n".join(f"stopped {s.spec.slot} v{s.spec.version} ({s.role})" for s in servers)
        or "no model server is running"
    )
