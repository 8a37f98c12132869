"""Album has pictures made small by whoever can do it: it gives a task, and can ask after it and withdraw it."""

from __future__ import annotations

from pydantic import BaseModel

from udc import Context, Droplet, command, query

ORCHESTRATOR = "Orchestrator"


class Given(BaseModel):
    """What Album reads of a task, of which the Orchestrator tells much more."""

    task_id: str
    status: str
    result: list[str] | None = None


class Album(Droplet):
    id, name, steward = 51, "Album", "media-team"

    @command("publish")
    async def publish(self, pictures: list[str], ctx: Context) -> Given:
        """Have pictures made small; returns at once, with the task's id."""
        task = {
            # The same message twice is one task: retries carry the same id.
            "task_id": ctx.message.message_id,
            "task_type": "shrink",
            "title": f"{len(pictures)} pictures",
            "payload": {"pictures": pictures},
        }
        return await ctx.request(ORCHESTRATOR, "POST", "/tasks", task, returns=Given)

    @query("state")
    async def state(self, task_id: str, ctx: Context) -> Given:
        """How far it is, and its result once there is one."""
        return await ctx.request(ORCHESTRATOR, "GET", f"/tasks/{task_id}", returns=Given)

    @command("withdraw")
    async def withdraw(self, task_id: str, ctx: Context) -> Given:
        """It is not wanted any more."""
        return await ctx.request(ORCHESTRATOR, "DELETE", f"/tasks/{task_id}", returns=Given)
