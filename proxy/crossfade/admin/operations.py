"""The table of all operations of the admin API, by the class that has their handlers."""

from __future__ import annotations

from crossfade.admin import (
    commands,
    config_api,
    dashboard_files,
    drift,
    events,
    explain_api,
    feedback,
    history_api,
    log_api,
    notifications_api,
    predictions,
    probes,
    session_api,
    state_api,
)
from crossfade.admin.operation import Operation

GROUPS: dict[type, tuple[Operation, ...]] = {
    probes.Probes: probes.OPERATIONS,
    dashboard_files.DashboardFiles: dashboard_files.OPERATIONS,
    session_api.SessionApi: session_api.OPERATIONS,
    state_api.StateApi: state_api.OPERATIONS,
    commands.CommandApi: commands.OPERATIONS,
    history_api.HistoryApi: history_api.OPERATIONS,
    config_api.ConfigApi: config_api.OPERATIONS,
    events.EventStreams: events.OPERATIONS,
    feedback.FeedbackApi: feedback.OPERATIONS,
    predictions.Predictions: predictions.OPERATIONS,
    log_api.LogApi: log_api.OPERATIONS,
    drift.DriftApi: drift.OPERATIONS,
    explain_api.ExplainApi: explain_api.OPERATIONS,
    notifications_api.NotificationsApi: notifications_api.OPERATIONS,
}
OPERATIONS = tuple(operation for group in GROUPS.values() for operation in group)
