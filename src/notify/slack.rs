//! A notice as a message of Slack: Block Kit, and a text for notifications and for clients that show no blocks.

use super::notice::{Detail, Kind, Named, Notice};
use serde_json::{Value, json};

/// Most of a sentence, in characters after escaping: a section takes 3000.
const MAX_TEXT: usize = 2500;

/// The message. Whatever stands in the notice is shown as it is: it cannot mention anybody, link or format.
pub fn payload(notice: &Notice, cluster: &str, left_out: u64) -> Value {
    let title = escape(&notice.title(), MAX_TEXT);
    let message = escape(&notice.message, MAX_TEXT);
    let mut blocks = vec![section(&format!("*{title}*\n{message}"))];
    let named = named(notice);
    if !named.is_empty() {
        blocks.push(section(&named.join("\n")));
    }
    if notice.kind == Kind::RolloutAwaitingApproval {
        blocks.push(section(&approve(notice)));
    }
    blocks.push(json!({"type": "context", "elements": [text(&context(notice, cluster, left_out))]}));
    json!({
        "text": format!("{}{title}: {message}", prefix(cluster)),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

fn prefix(cluster: &str) -> String {
    if cluster.is_empty() { String::new() } else { format!("[{}] ", escape(cluster, MAX_TEXT)) }
}

/// The command by which a person lets the rollout go on.
fn approve(notice: &Notice) -> String {
    let Detail::Rollout(rollout) = &notice.detail else { return String::new() };
    let (namespace, name) = (&notice.namespace, &notice.name);
    let target = rollout.target_revision.as_deref().unwrap_or_default();
    let command = format!(
        "kubectl -n {namespace} annotate --overwrite configrollout {name} \
         fleet.opamp.dev/promote={target}/{}",
        &notice.id[notice.id.len().saturating_sub(8)..]
    );
    format!("```{}```", escape(&command, MAX_TEXT))
}

fn named(notice: &Notice) -> Vec<String> {
    let agents = match &notice.detail {
        Detail::Rollout(rollout) => &rollout.failures,
        Detail::Group(group) => &group.quarantined,
    };
    let line = |Named { agent, host, reason, message }: &Named| {
        let host = if host.is_empty() { agent } else { host };
        let colon = if message.is_empty() { "" } else { ": " };
        escape(&format!("• {host}: {reason}{colon}{message}"), MAX_TEXT / 4)
    };
    agents.iter().map(line).collect()
}

fn context(notice: &Notice, cluster: &str, left_out: u64) -> String {
    let mut parts = Vec::new();
    if !cluster.is_empty() {
        parts.push(format!("cluster {cluster}"));
    }
    if let Detail::Rollout(rollout) = &notice.detail {
        parts.push(format!("group {}", rollout.group));
    }
    parts.push(format!("{}, {}", notice.kind.as_str(), notice.severity.as_str()));
    parts.push(notice.time.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    if left_out > 0 {
        parts.push(format!("{left_out} earlier notifications were left out"));
    }
    escape(&parts.join(" | "), MAX_TEXT)
}

fn section(markdown: &str) -> Value {
    json!({"type": "section", "text": text(markdown)})
}

/// Without `verbatim`, Slack makes links of names and addresses.
fn text(markdown: &str) -> Value {
    json!({"type": "mrkdwn", "text": markdown, "verbatim": true})
}

/// The text with the three characters escaped that Slack reads otherwise, and those that format; at most so many
/// characters.
fn escape(text: &str, limit: usize) -> String {
    let mut escaped = String::new();
    let mut length = 0;
    for c in text.chars() {
        let next = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            // Shown in their place, because nothing escapes them.
            '`' => "'",
            '*' => "∗",
            '~' => "∼",
            _ => "",
        };
        length += next.len().max(1);
        if length > limit {
            escaped.push('…');
            break;
        }
        if next.is_empty() { escaped.push(c) } else { escaped.push_str(next) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slack_reads_otherwise_is_escaped_and_long_texts_are_cut_between_characters() {
        for (text, limit, expected) in [
            ("a<!channel>&b", 100, "a&lt;!channel&gt;&amp;b"),
            ("<https://x|y>", 100, "&lt;https://x|y&gt;"),
            ("*bold* `code` ~gone~ under_score", 100, "∗bold∗ 'code' ∼gone∼ under_score"),
            ("&&&", 10, "&amp;&amp;…"),
            ("ééé", 2, "éé…"),
            ("abc", 3, "abc"),
        ] {
            assert_eq!(escape(text, limit), expected, "{text}");
        }
    }
}
