"""Speaks for a user's own copy of WebShop: one JSON object a line on standard input and output.

Runs in that copy's Python (3.8 or later), started by ``genrm_rl.environments.webshop`` in the copy's folder; imports
nothing of genrm_rl. Requests are ``{"reset": goal number}`` and ``{"step": action}``; each is answered with the text,
the actions that the page has, the reward, and whether the episode is over.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Answer requests until standard input ends."""
    products = int(sys.argv[1])
    answers, sys.stdout = sys.stdout, sys.stderr  # what the copy prints must not be read as an answer
    sys.path.insert(0, ".")
    from web_agent_site.envs import WebAgentTextEnv

    environment = WebAgentTextEnv(observation_mode="text", num_products=products or None)
    print(json.dumps({"goals": len(environment.server.goals)}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        reward, done = 0.0, False
        if "reset" in request:
            environment.reset(session=request["reset"])
        else:
            _, reward, done, _ = environment.step(request["step"])
        can = environment.get_available_actions()
        told = {
            "text": environment.observation,
            "goal": environment.instruction_text,
            "search": bool(can["has_search_bar"]),
            "clickables": list(can["clickables"]),
            "reward": float(reward),
            "done": bool(done),
        }
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main()
