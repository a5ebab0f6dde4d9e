"""The optimizers that stages choose from: Adam, RAdam, and Ranger, with which e4e trains its encoder."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Ranger(torch.optim.RAdam):
    """RAdam on centralised gradients, with Lookahead over it.

    In each step the gradient of every weight with more than one dimension loses its mean over all but the first
    ("Gradient Centralization", Yong et al. 2020); RAdam then takes its step, which is plain momentum until its variance
    is rectified ("On the Variance of the Adaptive Learning Rate and Beyond", Liu et al. 2020). After every
    `lookahead_steps` of them slow weights, which began as the weights did, go a share of the way to the weights, and
    these become the slow ones ("Lookahead Optimizer: k steps forward, 1 step back", Zhang et al. 2019). The slow
    weights are part of `state_dict`.

    Args:
        params: to be optimised, or groups of them.
        lr: learning rate.
        betas: of the gradient's mean and of its square's; these are what e4e has.
        eps: added to the square root in the denominator.
        lookahead_steps: k.
        lookahead_share: alpha, from 0 (never move) to 1 (RAdam alone).
        centralize: whether gradients are centralised; this changes `grad` itself.

    Raises:
        ValueError: `lookahead_steps` is below 1, or `lookahead_share` outside [0, 1].
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        *,
        lookahead_steps: int = 6,
        lookahead_share: float = 0.5,
        centralize: bool = True,
    ) -> None:
        if lookahead_steps < 1 or not 0 <= lookahead_share <= 1:
            raise ValueError(
                "lookahead_steps must be at least 1 and lookahead_share from 0 to 1, got "
                f"{lookahead_steps} and {lookahead_share}"
            )
        super().__init__(params, lr=lr, betas=betas, eps=eps)
        own = {
            "lookahead_steps": lookahead_steps,
            "lookahead_share": lookahead_share,
            "centralize": centralize,
        }
        self.defaults.update(own)  # of groups that are added later
        for group in self.param_groups:
            for name, value in own.items():
                group.setdefault(name, value)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step on the gradients that are there; `closure` computes them first and gives the loss, returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moved = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for group, parameter in moved:
            if group["centralize"] and parameter.grad.ndim > 1:
                parameter.grad.sub_(parameter.grad.mean(tuple(range(1, parameter.grad.ndim)), keepdim=True))
        # RAdam makes its own state only where there is none yet, so the slow weights join it afterwards.
        begun: list[tuple[Tensor, Tensor]] = [(p, p.clone()) for _, p in moved if p not in self.state]
        super().step()
        for parameter, start in begun:
            self.state[parameter]["slow"] = start
        for group, parameter in moved:
            state = self.state[parameter]
            if int(state["step"]) % group["lookahead_steps"] == 0:
                state["slow"].lerp_(parameter, group["lookahead_share"])
                parameter.copy_(state["slow"])
        return loss


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "radam": torch.optim.RAdam,
    "ranger": Ranger,
}
