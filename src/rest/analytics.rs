//! The figures of the dashboard, for admins. Source: docs/protocol.md#analytics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::Result;
use crate::models::analytics::{Counts, Talked};
use crate::services::analytics::{DayFigures, Period, PeriodLength, Scope};
use crate::wire::Payload;

use super::RestState;
use super::error::Failure;
use super::extract::{Admin, Query};

type Answer = Result<Response, Failure>;

/// The period and the scope a query asks for.
async fn ask(state: &RestState, Admin(admin): Admin, query: &Payload) -> Result<(Arc<Period>, Scope)> {
    let (length, scope) = (query.text(&["period"])?.unwrap_or_default(), query.text(&["type"])?);
    let scope = scope.map(|word| Scope::parse(word).ok_or_else(|| crate::error::Error::invalid("type is not one of the known words")));
    let scope = scope.transpose()?.unwrap_or_default();
    Ok((state.services.analytics().period(&admin, PeriodLength::parse(length)).await?, scope))
}

fn answer(data: &Value) -> Answer {
    Ok(Json(json!({ "success": true, "data": data })).into_response())
}

/// With one decimal, half up, and none where it would be zero. Whole numbers stay integers.
fn tenths(part: u64, of: u64) -> Value {
    let tenths = part.saturating_mul(20).checked_div(of).unwrap_or(0).div_ceil(2);
    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    let fraction = || tenths as f64 / 10.0;
    if tenths.is_multiple_of(10) { json!(tenths / 10) } else { json!(fraction()) }
}

fn minutes(talked: Talked) -> Value {
    tenths(talked.seconds, talked.calls.saturating_mul(60))
}

fn percent(part: u64, of: u64) -> Value {
    tenths(part.saturating_mul(100), of)
}

fn sums(days: &[DayFigures]) -> Counts {
    let mut sum = Counts::default();
    days.iter().for_each(|day| sum += day.counts);
    sum
}

/// GET `/api/admin/communications/stats`.
pub(super) async fn stats(state: State<RestState>, admin: Admin, query: Query) -> Answer {
    let (period, scope) = ask(&state, admin, &query.0).await?;
    let days = period.by_day(scope);
    let sum = sums(&days);
    let of = |figure: fn(&DayFigures) -> u64| days.iter().map(figure).sum::<u64>();
    answer(&json!({
        "totalMessages": sum.messages,
        "totalVoiceCalls": sum.voice,
        "totalVideoCalls": sum.video,
        "totalCommunications": sum.total(),
        "avgCallDuration": minutes(period.talked(scope)),
        "activeConversations": period.active_conversations(scope),
        "completedCalls": of(|day| day.outcomes.completed),
        "missedCalls": of(|day| day.outcomes.missed),
        "rejectedCalls": of(|day| day.outcomes.rejected),
    }))
}

/// GET `/api/admin/communications/trends`.
pub(super) async fn trends(state: State<RestState>, admin: Admin, query: Query) -> Answer {
    let (period, scope) = ask(&state, admin, &query.0).await?;
    let row = |DayFigures { day, counts, .. }: DayFigures| {
        json!({
            "date": day.to_string(),
            "messages": counts.messages,
            "voiceCalls": counts.voice,
            "videoCalls": counts.video,
            "total": counts.total(),
        })
    };
    answer(&period.by_day(scope).into_iter().map(row).collect())
}

/// GET `/api/admin/analytics/communication-trends`: the same under shorter names.
pub(super) async fn short_trends(state: State<RestState>, admin: Admin, query: Query) -> Answer {
    let (period, scope) = ask(&state, admin, &query.0).await?;
    let row = |DayFigures { day, counts, .. }: DayFigures| json!({ "date": day.to_string(), "messages": counts.messages, "voice": counts.voice, "video": counts.video });
    answer(&period.by_day(scope).into_iter().map(row).collect())
}

/// GET `/api/admin/communications/astrologers`: those with the most of everything first.
pub(super) async fn astrologers(state: State<RestState>, admin: Admin, query: Query) -> Answer {
    let (period, scope) = ask(&state, admin, &query.0).await?;
    let astrologers = state.services.analytics().astrologers(&period, scope, |activity| activity.counts.total()).await?;
    let rows = astrologers.into_iter().map(|astrologer| {
        let counts = astrologer.activity.counts;
        json!({
            "astrologerId": astrologer.id,
            "astrologerName": shown(astrologer.name),
            "messages": counts.messages,
            "voiceCalls": counts.voice,
            "videoCalls": counts.video,
            "total": counts.total(),
        })
    });
    answer(&rows.collect())
}

/// GET `/api/admin/communications/call-duration`: those with the most calls first.
pub(super) async fn call_duration(state: State<RestState>, admin: Admin, query: Query) -> Answer {
    let (period, scope) = ask(&state, admin, &query.0).await?;
    let astrologers = state.services.analytics().astrologers(&period, scope, |activity| activity.counts.calls()).await?;
    let rows = astrologers.into_iter().map(|astrologer| {
        let activity = astrologer.activity;
        json!({
            "astrologerId": astrologer.id,
            "astrologerName": shown(astrologer.name),
            "avgVoiceCallDuration": minutes(activity.voice),
            "avgVideoCallDuration": minutes(activity.video),
            "totalVoiceCalls": activity.counts.voice,
            "totalVideoCalls": activity.counts.video,
        })
    });
    answer(&rows.collect())
}

fn shown(name: Option<String>) -> String {
    name.unwrap_or_else(|| "Astrologer".to_owned())
}

/// GET `/api/admin/communications/peak-hours`: the 24 hours of UTC.
pub(super) async fn peak_hours(state: State<RestState>, admin: Admin, query: Query) -> Answer {
    let (period, scope) = ask(&state, admin, &query.0).await?;
    let row = |(hour, counts): (usize, Counts)| {
        json!({
            "hour": hour,
            "messages": counts.messages,
            "voiceCalls": counts.voice,
            "videoCalls": counts.video,
            "total": counts.total(),
        })
    };
    answer(&period.by_hour(scope).into_iter().enumerate().map(row).collect())
}

/// GET `/api/admin/communications/success-rates`: of all calls of a day, in percent.
pub(super) async fn success_rates(state: State<RestState>, admin: Admin, query: Query) -> Answer {
    let (period, scope) = ask(&state, admin, &query.0).await?;
    let row = |DayFigures { day, counts, outcomes }: DayFigures| {
        json!({
            "date": day.to_string(),
            "completedRate": percent(outcomes.completed, counts.calls()),
            "missedRate": percent(outcomes.missed, counts.calls()),
            "rejectedRate": percent(outcomes.rejected, counts.calls()),
        })
    };
    answer(&period.by_day(scope).into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_one_decimal_where_they_need_it_and_are_never_null() {
        for (part, of, shown) in [(0, 0, "0"), (5, 0, "0"), (10, 5, "2"), (1, 3, "0.3"), (2, 3, "0.7"), (200, 3, "66.7"), (100, 1, "100")] {
            assert_eq!(tenths(part, of).to_string(), shown);
        }
    }
}
