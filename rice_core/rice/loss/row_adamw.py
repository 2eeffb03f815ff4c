"""RowAdamW: AdamW that reads and writes the rows with a gradient, and no others.

With a dense AdamW a class center keeps moving after the step that sampled it, by its decaying first moment, almost as
far as a sampled one; and every step reads and writes the state of all K classes.

Letters: K rows, D width, T touched rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from rice_core.errors import UserError

_SLAB = 2**24
"""Entries updated at once (64 MiB a temporary), so that many touched rows take no more memory than few."""


class RowAdamW(torch.optim.Optimizer):
    """AdamW of Loshchilov and Hutter on the touched rows of (K, D) parameters with sparse gradients.

        w <- (1 - lr * weight_decay) w - lr * m_t / (sqrt(v_t) + eps)      m_t, v_t corrected for their start at zero

    Each row counts its own steps (`row_steps`), so a row evolves as under AdamW run on the steps that touched it. With
    a global count the correction would be over by the time a rare row is first touched, and its first update wrong by
    (1 - beta1) / sqrt(1 - beta2): 3.2 times too long for 0.9 and 0.999. Weight decay also waits for the touch.

    State, there from the start, so that a checkpoint can be read into it: `exp_avg` and `exp_avg_sq` (K, D) in
    `state_dtype`, `row_steps` (K,) int32, and `step`, which only seeds the rounding.

    Args:
        state_dtype: float32, or bfloat16, which halves the moments: 10M classes x 768 then take 61 GB with their float32
            centers. It rounds stochastically, since to the nearest a second moment would never decay: 0.999 v is v.

    Raises:
        UserError: another state_dtype.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        state_dtype: torch.dtype = torch.float32,
    ) -> None:
        if state_dtype not in (torch.float32, torch.bfloat16):
            raise UserError(f"RowAdamW keeps its state in float32 or bfloat16, not {state_dtype}; choose one of them.")
        self.state_dtype = state_dtype
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, as in every torch optimizer, with zero moments."""
        super().add_param_group(param_group)
        for weight_KD in self.param_groups[-1]["params"]:
            self.state[weight_KD] = {
                "exp_avg": torch.zeros_like(weight_KD, dtype=self.state_dtype, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(weight_KD, dtype=self.state_dtype, requires_grad=False),
                "row_steps": torch.zeros(len(weight_KD), dtype=torch.int32, device=weight_KD.device),
                "step": torch.zeros((), dtype=torch.int64),
            }

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the rows in each sparse gradient; a row that it lists with zeros is touched too.

        Raises:
            UserError: a dense gradient.
        """
        for group in self.param_groups:
            for weight_KD in group["params"]:
                if weight_KD.grad is None:
                    continue
                if not weight_KD.grad.is_sparse:
                    raise UserError("RowAdamW moves rows with sparse gradients; give dense ones to torch.optim.AdamW.")
                grad = weight_KD.grad.coalesce()
                state = self.state[weight_KD]
                state["step"] += 1
                # Seeded by the step: a resumed training rounds as one that never stopped, and no state is kept.
                noise = torch.Generator(weight_KD.device).manual_seed(int(state["step"]))
                slab = max(1, _SLAB // weight_KD.shape[1])
                for rows_T, g_TD in zip(grad.indices()[0].split(slab), grad.values().split(slab), strict=True):
                    _update(weight_KD, rows_T, g_TD.float(), state, group, noise)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in every torch optimizer, but the state keeps this optimizer's dtypes instead of taking the parameters'.

        Raises:
            UserError: the state is that of other shapes.
        """
        super().load_state_dict({**state_dict, "state": {}})
        saved = [key for group in state_dict["param_groups"] for key in group["params"]]
        params = [weight_KD for group in self.param_groups for weight_KD in group["params"]]
        for key, weight_KD in zip(saved, params, strict=True):
            moments = state_dict["state"][key]
            if moments["exp_avg"].shape != weight_KD.shape:
                raise UserError(
                    f"The optimizer's state is that of centers {tuple(moments['exp_avg'].shape)}, not "
                    f"{tuple(weight_KD.shape)}; resume with the bank and the number of ranks that wrote it."
                )
            kinds = dict.fromkeys(("exp_avg", "exp_avg_sq"), self.state_dtype) | {"row_steps": torch.int32}
            self.state[weight_KD] = {
                name: moments[name].to(weight_KD.device, kind, copy=True) for name, kind in kinds.items()
            } | {"step": moments["step"].clone()}


def _update(
    weight_KD: torch.Tensor,
    rows_T: torch.Tensor,
    g_TD: torch.Tensor,
    state: dict[str, torch.Tensor],
    group: dict[str, Any],
    noise: torch.Generator,
) -> None:
    """Equation of the class on rows that are listed once each."""
    beta1, beta2 = group["betas"]
    state["row_steps"][rows_T] += 1
    # In float64: 1 - 0.999^t has three digits left in float32.
    t_T1 = state["row_steps"][rows_T].double()[:, None]
    m_TD = state["exp_avg"][rows_T].float().lerp_(g_TD, 1 - beta1)
    v_TD = state["exp_avg_sq"][rows_T].float().mul_(beta2).addcmul_(g_TD, g_TD, value=1 - beta2)
    state["exp_avg"].index_copy_(0, rows_T, _rounded(m_TD, state["exp_avg"].dtype, noise))
    state["exp_avg_sq"].index_copy_(0, rows_T, _rounded(v_TD, state["exp_avg_sq"].dtype, noise))
    length_TD = v_TD.sqrt_().div_((1 - beta2**t_T1).sqrt().float()).add_(group["eps"])
    move_TD = m_TD.div_(length_TD).mul_((group["lr"] / (1 - beta1**t_T1)).float())
    w_TD = weight_KD[rows_T].float().mul_(1 - group["lr"] * group["weight_decay"]).sub_(move_TD)
    weight_KD.index_copy_(0, rows_T, w_TD.to(weight_KD.dtype))


def _rounded(x: torch.Tensor, dtype: torch.dtype, noise: torch.Generator) -> torch.Tensor:
    """To bfloat16 up or down at random, with the exact value as the mean; float32 as it is."""
    if dtype == torch.float32:
        return x
    # bfloat16 is the upper half of float32's bits: add noise below it, then cut.
    bits = x.view(torch.int32)
    low = torch.randint(0, 2**16, bits.shape, generator=noise, dtype=torch.int32, device=bits.device)
    return (bits + low).bitwise_and_(-(2**16)).view(torch.float32).to(dtype)
