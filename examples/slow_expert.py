"""A slow expert: other environments continue while it thinks; a safe action where it does not answer in time."""

import asyncio
import itertools

import numpy as np

from consensus_imitation import ConsensusImitator, Patience, SafeAction, TopK, ensembles

WAIT = 2  # the action that is safe here, because you say so


def main() -> None:
    """Let three environments run by themselves, with an expert who falls asleep."""
    number = itertools.count()

    async def expert(observation: int) -> int:
        await asyncio.sleep(60 if next(number) == 4 else 0.01)  # asleep at the fifth question
        return observation % 3

    members = ensembles.tabular(np.random.default_rng(0).dirichlet(np.ones(3), (4, 10)))
    imitator = ConsensusImitator(
        members,
        expert,
        selection=TopK(2),
        num_envs=3,
        seed=0,
        patience=Patience(timeout=1.0, then=SafeAction(WAIT)),
    )

    async def life(env: int) -> list[bool]:
        return [(await imitator.act_async((step + env) % 10, env=env)).unanswered for step in range(20)]

    async def lives() -> list[list[bool]]:
        return await asyncio.gather(*(life(env) for env in range(3)))

    unanswered = sum(sum(one) for one in asyncio.run(lives()))
    print(f"{imitator.num_queries} questions in 60 steps; nobody answered {unanswered} of them")
    print("the certificate says:", imitator.certificate().void)


if __name__ == "__main__":
    main()
