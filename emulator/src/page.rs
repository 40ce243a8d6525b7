//! Lists come in pages: a number of entries, and a token with which to request the next ones.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::answer::Answer;
use crate::parameters::Parameters;

/// How many entries a page has if the client does not set it. They are few, so that a dozen queues
/// expose a client that does not request the next page.
const SMALL: usize = 10;
/// How many it has at most.
const LARGE: usize = 1000;

/// A page of a list.
#[derive(Serialize)]
struct Page<T> {
    items: Vec<T>,
}

/// The requested page. The token has the entry at which it begins. What comes and goes between two
/// pages may be seen twice or not at all, as with the service.
pub(crate) fn answer<T: Serialize>(
    parameters: &Parameters,
    all: impl IntoIterator<Item = T>,
) -> Result<Answer, Answer> {
    let limit = parameters.limit(SMALL, LARGE)?;
    let start = parameters.page.as_deref().map_or(Ok(0), start)?;
    let mut rest = all.into_iter().skip(start);
    let items = rest.by_ref().take(limit).collect();
    let next = rest.next().map(|_| BASE64_URL_SAFE_NO_PAD.encode(format!("from {}", start + limit)));
    Ok(Answer::page(&Page { items }, next.as_deref()))
}

fn start(token: &str) -> Result<usize, Answer> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_prefix("from ")?.parse().ok());
    number
        .filter(|start| *start < usize::MAX - LARGE)
        .ok_or_else(|| Answer::invalid("page is not a token that was given out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    /// The entries of a page, and the token of the next one.
    fn page(query: &str, count: usize) -> Result<(Vec<usize>, Option<String>), Answer> {
        let parameters = Parameters::parse(&format!("/x?{query}").parse().unwrap()).unwrap();
        let answer = answer(&parameters, 0..count)?;
        let Payload::Whole(body) = &answer.payload else { panic!("{answer:?}") };
        let json: serde_json::Value = serde_json::from_slice(body).unwrap();
        let items = json["items"].as_array().unwrap().iter().map(|item| item.to_string().parse().unwrap());
        let next = answer.headers.get("opc-next-page").map(|next| next.to_str().unwrap().to_owned());
        Ok((items.collect(), next))
    }

    #[test]
    fn pages_make_up_the_list() {
        let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
        for left in [true, true, false] {
            let (items, next) = page(&query, 5).unwrap();
            seen.extend(items);
            assert_eq!(next.is_some(), left, "{seen:?}");
            query = format!("limit=2&page={}", next.unwrap_or_default());
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_page_is_small_unless_asked_for_more() {
        let (items, next) = page("", 11).unwrap();
        assert_eq!((items.len(), next.is_some()), (10, true));
        assert_eq!(page("limit=11", 11).unwrap().1, None);
        assert_eq!(page("", 0).unwrap(), (vec![], None));
        for bad in ["limit=1001", "page=x", "page=", "page=ZnJvbSAtMQ"] {
            assert!(page(bad, 1).is_err(), "{bad}");
        }
    }
}
