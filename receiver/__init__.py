"""The receiver: makes registry and model servers match the pins in git, verifies the result, or rolls back.

What happens when a pull request that bumps a pin is merged:

1. ``intake/`` checks GitHub's signature over the raw bytes, stores the delivery, commits, answers 202.
2. ``reconciler/fetcher.py`` claims the job that the delivery joined, fetches the branch head
   (``adapters/git/mirror.py``) and reads the pins (``core/pins.py``). The push is only a hint.
3. ``reconciler/controller.py`` takes a turn: it asks the servers (``targets/``) and has what the registry said last
   (``reconciler/registry_view.py``). ``planning/assess.py`` sets the goal of each slot: policy allows, refuses or
   defers the pin (``core/policy.py``), and the difference becomes a plan (``core/plan.py``). Each slot that has
   something to do gets a thread; one waits for another only where policy or a port asks for it.
4. ``reconciler/reconcile.py`` is the flow of one slot. ``planning/fetch.py`` downloads a version that is new, and
   ``reconciler/apply.py`` carries the plan out, one journaled action after another: start a candidate, prove it,
   set stage and alias, switch traffic, watch, retire the old server.
5. What fails is rolled back by the same planner, with the last verified state as its goal.
6. ``notifications/`` reports the outcome to GitHub and chats, through the outbox (``adapters/sqlite/outbox.py``).

After each fetch and deployment, on threads of their own (``reconciler/background.py``),
``pull_requests/reviewer.py`` plans
the open pull requests and ``pull_requests/candidates.py`` has new versions measured and proposes the best.

``core/`` does no I/O. Everything outside is behind a Protocol in ``ports.py``; ``wiring.py`` is the one place that
builds the real ones. Imports run one way: receiver, ml, serving. docs/architecture.md has the same in more words.
"""
