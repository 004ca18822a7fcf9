"""The receiver: makes registry and model servers match the pins in git, proves it, and puts everything back.

What happens when a pull request that bumps a pin is merged:

1. ``intake/`` checks GitHub's signature over the raw bytes, stores the delivery, commits, answers 202.
2. ``worker.py`` claims the job that the delivery joined. The push is only a hint.
3. ``reconcile.py`` is the flow. It fetches the branch head (``adapters/git.py``), reads the pins
   (``core/pins.py``), asks the registry and the servers what is true (``adapters/registry.py``,
   ``targets/``), lets policy decide (``core/policy.py``) and plans the difference (``core/plan.py``).
4. ``apply.py`` carries the plan out, one journaled action after another: start a candidate, prove it, move
   stage and alias, switch traffic, watch, retire the old server.
5. What fails is put back by the same planner, aimed at the last verified state.

After each look, on threads of their own (``follow_up.py``), ``proposals/reviewer.py`` plans the open pull requests
with the same survey, and ``proposals/candidates.py`` has new versions measured and proposes the best.

``core/`` does no I/O. Everything outside is behind a Protocol in ``ports.py``; ``wiring.py`` is the one place
that builds the real ones. Imports run one way: receiver, ml, serving.
"""
