//! The operations on queues and consumer groups as things: listed and described.

use std::cmp::Ordering;
use std::sync::Arc;

use http::request::Parts;

use crate::answer::Answer;
use crate::descriptions::{GroupDocument, GroupSummary, QueueDocument, QueueSummary, group_state};
use crate::group::Description;
use crate::page;
use crate::parameters::{Order, Parameters};
use crate::queue::EmulatedQueue;

/// GetQueue.
pub(crate) fn describe(queue: &EmulatedQueue, parts: &Parts) -> Result<Answer, Answer> {
    Ok(Answer::document(&QueueDocument::new(queue, asked_at(parts)?)))
}

/// ListQueues: every filter that is given must fit.
pub(crate) fn queues(all: &[Arc<EmulatedQueue>], parameters: &Parameters, parts: &Parts) -> Result<Answer, Answer> {
    let (lifecycle, order) = (parameters.lifecycle()?, parameters.order()?);
    let asked_at = asked_at(parts)?;
    let mut queues: Vec<&EmulatedQueue> = all
        .iter()
        .map(AsRef::as_ref)
        .filter(|queue| {
            let settings = queue.settings();
            fits(parameters.compartment_id.as_ref(), &settings.compartment)
                && fits(parameters.display_name.as_ref(), queue.name())
                && fits(parameters.id.as_ref(), queue.id().as_str())
                && lifecycle.is_none_or(|lifecycle| lifecycle == settings.lifecycle)
        })
        .collect();
    queues.sort_by(|a, b| {
        order
            .compare(a.created_at().cmp(&b.created_at()), a.name().cmp(b.name()))
            .then(a.id().as_str().cmp(b.id().as_str()))
    });
    page::answer(parameters, queues.into_iter().map(|queue| QueueSummary::new(queue, asked_at)))
}

/// ListConsumerGroups, likewise.
pub(crate) fn groups(all: &[Arc<EmulatedQueue>], parameters: &Parameters) -> Result<Answer, Answer> {
    let (lifecycle, order) = (parameters.lifecycle()?, parameters.order()?);
    let queues = all.iter().filter(|queue| fits(parameters.queue_id.as_ref(), queue.id().as_str()));
    let mut groups: Vec<(&EmulatedQueue, Description)> = queues
        .flat_map(|queue| queue.groups().into_iter().map(move |group| (queue.as_ref(), group)))
        .filter(|(_, group)| {
            fits(parameters.display_name.as_ref(), &group.name)
                && fits(parameters.id.as_ref(), &group.id)
                && lifecycle.is_none_or(|lifecycle| lifecycle == group_state(group.enabled))
        })
        .collect();
    groups.sort_by(|(_, a), (_, b)| {
        order.compare(a.created_at.cmp(&b.created_at), a.name.cmp(&b.name)).then(a.id.cmp(&b.id))
    });
    page::answer(parameters, groups.into_iter().map(|(queue, group)| GroupSummary::new(queue, group)))
}

/// GetConsumerGroup.
pub(crate) fn group(all: &[Arc<EmulatedQueue>], id: &str) -> Result<Answer, Answer> {
    let found = all.iter().find_map(|queue| Some((queue, queue.groups().into_iter().find(|group| group.id == id)?)));
    let (queue, group) = found.ok_or_else(Answer::no_such_group)?;
    Ok(Answer::document(&GroupDocument::new(queue, group)))
}

fn fits(wanted: Option<&String>, is: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == is)
}

/// The authority that the request was sent to.
fn asked_at(parts: &Parts) -> Result<&str, Answer> {
    let host = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    host.ok_or_else(|| Answer::unreadable("The host header is not readable."))
}

// === impl Order ===

impl Order {
    fn compare(self, by_time: Ordering, by_name: Ordering) -> Ordering {
        let order = if self.by_name { by_name } else { by_time };
        if self.descending { order.reverse() } else { order }
    }
}
