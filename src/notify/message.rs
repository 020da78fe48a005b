//! What is posted for a notice: body and headers, as the receiver wants them.

use super::notice::Notice;
use super::receiver::{Receiver, Target};
use super::{pagerduty, signature, slack, webhook};
use jiff::Timestamp;

#[cfg(test)]
mod tests;

/// One post. Without `Debug`: it has secrets.
pub struct Message {
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The post that tells a receiver of a notice at this time, and how many earlier ones were left out.
pub fn message(receiver: &Receiver, notice: &Notice, left_out: u64, now: Timestamp) -> Message {
    let cluster = receiver.cluster.as_str();
    let json = "application/json; charset=utf-8";
    match &receiver.target {
        Target::Slack { .. } => {
            let body = slack::payload(notice, cluster, left_out).to_string().into_bytes();
            Message { headers: vec![("content-type", json.to_owned())], body }
        }
        Target::PagerDuty { routing_key, severities, .. } => {
            let event = pagerduty::payload(notice, cluster, routing_key.reveal(), severities, left_out);
            let body = event.to_string().into_bytes();
            Message { headers: vec![("content-type", json.to_owned())], body }
        }
        Target::Webhook { keys, .. } => {
            let body = webhook::payload(notice, cluster, left_out).to_string().into_bytes();
            let mut headers =
                vec![("content-type", "application/cloudevents+json; charset=utf-8".to_owned())];
            headers.extend(signature::headers(&notice.id, now, &body, keys));
            Message { headers, body }
        }
    }
}
