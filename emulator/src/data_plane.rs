//! The operations on messages, and the figures about them.

use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::documents::{
    BatchDocument, DeliveryDocument, Gone, MessagesDocument, StatsDocument, StoredDocument, UpdatedDocument,
};
use crate::group::NoSuchGroup;
use crate::page;
use crate::parameters::Parameters;
use crate::queue::EmulatedQueue;
use crate::requests;

/// GetStats.
pub(crate) fn stats(queue: &EmulatedQueue, parameters: &Parameters) -> Result<Answer, Answer> {
    let of = parameters.counted();
    let stats = queue.stats_of(&of)?;
    queue.count_read();
    Ok(Answer::document(&StatsDocument::new(&of, stats)))
}

/// ListChannels.
pub(crate) fn channels(queue: &EmulatedQueue, parameters: &Parameters) -> Result<Answer, Answer> {
    let mut channels = queue.channels(parameters.consumer_group_id.as_deref())?;
    if let Some(only) = &parameters.channel_filter {
        channels.retain(|channel| channel == only);
    }
    page::answer(parameters, channels)
}

/// GetMessages.
pub(crate) async fn take(
    queue: &EmulatedQueue,
    parameters: &Parameters,
    closing: &CancellationToken,
) -> Result<Answer, Answer> {
    let (from, limit) = (parameters.wanted(), parameters.taken()?);
    let (visibility, patience) = (parameters.visibility()?, parameters.timeout()?);
    let taken = tokio::select! {
        // First, so that what was taken is also handed out.
        biased;
        taken = queue.wait(&from, limit, visibility, patience) => taken?,
        () = closing.cancelled() => Vec::new(),
    };
    let messages: MessagesDocument<_> = taken.into_iter().map(DeliveryDocument::from).collect();
    Ok(Answer::document(&messages))
}

/// PutMessages.
pub(crate) fn put(queue: &EmulatedQueue, body: &[u8]) -> Result<Answer, Answer> {
    let stored = queue.put(requests::to_put(body)?);
    let messages: MessagesDocument<_> = stored.into_iter().map(StoredDocument::from).collect();
    Ok(Answer::document(&messages))
}

/// UpdateMessage.
pub(crate) fn update(
    queue: &EmulatedQueue,
    parameters: &Parameters,
    receipt: &str,
    body: &[u8],
) -> Result<Answer, Answer> {
    let group = parameters.consumer_group_id.as_deref();
    let updated = queue.update(group, receipt, requests::to_update(body)?)?;
    let updated = updated.ok_or_else(Answer::no_such_message)?;
    Ok(Answer::document(&UpdatedDocument::from(updated)))
}

/// UpdateMessages.
pub(crate) fn update_all(queue: &EmulatedQueue, parameters: &Parameters, body: &[u8]) -> Result<Answer, Answer> {
    let group = parameters.consumer_group_id.as_deref();
    let entries = requests::all_to_update(body)?.into_iter();
    let results = entries.map(|(receipt, visibility)| queue.update(group, &receipt, visibility));
    let results: Result<Vec<_>, NoSuchGroup> = results.collect();
    let results = results?.into_iter().map(|updated| updated.map(UpdatedDocument::from));
    Ok(Answer::document(&results.collect::<BatchDocument<_>>()))
}

/// DeleteMessage.
pub(crate) fn delete(queue: &EmulatedQueue, parameters: &Parameters, receipt: &str) -> Result<Answer, Answer> {
    let deleted = queue.delete(parameters.consumer_group_id.as_deref(), receipt)?;
    if deleted { Ok(Answer::done()) } else { Err(Answer::no_such_message()) }
}

/// DeleteMessages.
pub(crate) fn delete_all(queue: &EmulatedQueue, parameters: &Parameters, body: &[u8]) -> Result<Answer, Answer> {
    let group = parameters.consumer_group_id.as_deref();
    let results = requests::all_to_delete(body)?.into_iter().map(|receipt| queue.delete(group, &receipt));
    let results: Result<Vec<_>, NoSuchGroup> = results.collect();
    let results = results?.into_iter().map(|deleted| deleted.then_some(Gone {}));
    Ok(Answer::document(&results.collect::<BatchDocument<_>>()))
}

impl From<NoSuchGroup> for Answer {
    fn from(_: NoSuchGroup) -> Self {
        Self::no_such_group()
    }
}
