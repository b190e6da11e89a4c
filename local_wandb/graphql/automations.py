"""Automations and their webhooks; the schema calls an automation a trigger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_wandb.errors import ConflictError, RequestError
from local_wandb.graphql.accounts import Entity, User
from local_wandb.graphql.collections import SuccessPayload
from local_wandb.graphql.context import Context
from local_wandb.graphql.filters import select
from local_wandb.graphql.ids import row_id
from local_wandb.graphql.pages import Connection, page
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.automations import delete_automation
from local_wandb.store.clock import now
from local_wandb.store.rows import (
    Automation,
    Collection,
    GenericWebhookIntegration,
    Project,
)


@dataclass(frozen=True)
class FilterEventTriggeringCondition:
    """The event of an automation; the SDK reads its filter in a wrapper (wandb 0.31, events.py)."""

    event_type: str
    event_filter: str

    @property
    def filter(self) -> str:
        """The wrapped filter, as JSON text."""
        return f'{{"filter": {self.event_filter}}}'


@dataclass(frozen=True)
class GenericWebhookTriggeredAction:
    """The action of an automation."""

    integration: GenericWebhookIntegration
    request_payload: str


@dataclass(frozen=True)
class TriggerPayload:
    """The answer to a new or changed automation."""

    trigger: Automation


RESOLVERS = Resolvers()
RESOLVERS.row(Automation, "Trigger")
for _row in (
    FilterEventTriggeringCondition,
    GenericWebhookIntegration,
    GenericWebhookTriggeredAction,
    TriggerPayload,
):
    RESOLVERS.row(_row)
#: Fields that the SDK's queries name and this server never returns.
UNSUPPORTED_FIELDS = (
    *(f"SlackIntegration.{field}" for field in ("id", "teamName", "channelName")),
    *(
        f"NotificationTriggeredAction.{field}"
        for field in ("integration", "title", "message", "severity")
    ),
    "NoOpTriggeredAction.noOp",
)
RESOLVERS.constant(None, *UNSUPPORTED_FIELDS)


@RESOLVERS.field("Entity.integrations")
def _integrations(
    _: Entity, context: Context, after: str | None = None, first: int | None = None
) -> Connection:
    return page(context.store.integrations.joined("ORDER BY t.id"), first, after)


@RESOLVERS.field("Entity.triggers")
def _automations(
    entity: Entity,
    context: Context,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Connection:
    projects = context.store.projects.where(entity=entity.name)
    every = [automation for project in projects for automation in _of_project(project, context)]
    return page(select(every, lambda one: {"name": one.name}, filters, order), first, after)


@RESOLVERS.field("User.projects")
def _projects(
    _: User, context: Context, after: str | None = None, first: int | None = None
) -> Connection:
    return page(context.store.projects.joined("ORDER BY t.id"), first, after)


@RESOLVERS.field("Project.triggers")
def _of_project(project: Project, context: Context) -> list[Automation]:
    return context.store.automations.joined(
        "LEFT JOIN collection c ON t.scope_type = 'ARTIFACT_COLLECTION' AND c.id = t.scope_id"
        " WHERE coalesce(c.project_id, t.scope_id) = ? ORDER BY t.id",
        project.id,
    )


@RESOLVERS.field("Trigger.scope")
def _scope(automation: Automation, context: Context) -> Project | Collection:
    if automation.scope_type == "PROJECT":
        return context.store.projects.get(automation.scope_id)
    return context.store.collections.get(automation.scope_id)


@RESOLVERS.field("Trigger.triggeringCondition")
def _event(automation: Automation, _: Context) -> FilterEventTriggeringCondition:
    return FilterEventTriggeringCondition(automation.event_type, automation.event_filter)


@RESOLVERS.field("Trigger.triggeredAction")
def _action(automation: Automation, context: Context) -> GenericWebhookTriggeredAction:
    integration = context.store.integrations.get(automation.integration_id)
    return GenericWebhookTriggeredAction(integration, automation.payload)


@RESOLVERS.field("Mutation.createFilterTrigger")
def _create(
    context: Context,
    name: str,
    enabled: bool,
    scope_type: str,
    scope_id: str,
    triggering_event_type: str,
    event_filter: str,
    triggered_action_config: Mapping[str, Any],
    description: str | None = None,
) -> TriggerPayload:
    _refuse_taken(context, name)
    time = now()
    created = context.store.automations.add(
        name=name,
        description=description,
        enabled=enabled,
        event_type=triggering_event_type,
        event_filter=event_filter,
        created_at=time,
        updated_at=time,
        **_scope_columns(context, scope_type, scope_id),
        **_action_columns(context, triggered_action_config),
    )
    return TriggerPayload(created)


@RESOLVERS.field("Mutation.updateFilterTrigger")
def _update(
    context: Context,
    id: str,  # noqa: A002 - the schema's name
    name: str | None = None,
    enabled: bool | None = None,
    scope_type: str | None = None,
    scope_id: str | None = None,
    triggering_event_type: str | None = None,
    event_filter: str | None = None,
    triggered_action_config: Mapping[str, Any] | None = None,
    description: str | None = None,
) -> TriggerPayload:
    automation = context.store.automations.get(row_id(Automation, id))
    if name not in (None, automation.name):
        _refuse_taken(context, str(name))
    columns: dict[str, Any] = {}
    if scope_type and scope_id:
        columns |= _scope_columns(context, scope_type, scope_id)
    if triggered_action_config:
        columns |= _action_columns(context, triggered_action_config)
    changed = context.store.automations.change(
        automation.id,
        name=name,
        description=description,
        enabled=enabled,
        event_type=triggering_event_type,
        event_filter=event_filter,
        updated_at=now(),
        **columns,
    )
    return TriggerPayload(changed)


@RESOLVERS.field("Mutation.deleteTrigger")
def _delete(context: Context, trigger_id: str) -> SuccessPayload:
    automation = context.store.automations.get(row_id(Automation, trigger_id))
    delete_automation(context.store, automation)
    return SuccessPayload()


def _refuse_taken(context: Context, name: str) -> None:
    if context.store.automations.find(name=name):
        raise ConflictError(f"an automation named '{name}' exists already")


def _scope_columns(context: Context, scope_type: str, scope_id: str) -> dict[str, Any]:
    if scope_type == "PROJECT":
        row: Project | Collection = context.store.projects.get(row_id(Project, scope_id))
    else:
        row = context.store.collections.get(row_id(Collection, scope_id))
    return {"scope_type": scope_type, "scope_id": row.id}


def _action_columns(context: Context, config: Mapping[str, Any]) -> dict[str, Any]:
    action = config.get("genericWebhookActionInput")
    if action is None:
        raise RequestError("an automation of this server needs a webhook as its action")
    integration_id = row_id(GenericWebhookIntegration, action["integrationID"])
    return {
        "integration_id": context.store.integrations.get(integration_id).id,
        "payload": action.get("requestPayload") or "{}",
    }
