//! Lists whose pages are odd: only the header tells which is the last.

use depthgauge::oci::compartment::CompartmentId;
use depthgauge::oci::credentials::Credentials;
use depthgauge::oci::endpoint::Endpoint;
use depthgauge::oci::queue::QueueId;
use depthgauge::oci::{Client, Error};
use depthgauge_emulator::fault::{Fault, Rule};
use depthgauge_emulator::operation::Operation;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use tokio::time::Instant;

use super::LONG;
use crate::support::oci::{COMPARTMENT, Oci, ocid};

/// The emulator's word for the first page.
const FIRST: &str = "ZnJvbSAw";

/// A page without entries that says where the next one begins.
fn empty_page(operation: Operation, times: Option<u32>) -> Rule {
    let next = (HeaderName::from_static("opc-next-page"), HeaderValue::from_static(FIRST));
    let (headers, body) = ([next].into_iter().collect(), Some(r#"{"items":[]}"#.to_owned()));
    Rule { operation: Some(operation), times, headers, body, ..Rule::from(Fault::Status(StatusCode::OK)) }
}

async fn scene() -> (Oci, Client, Endpoint) {
    let oci = Oci::with_queues(&[]).await;
    oci.add_to_compartment("orders", &ocid("orders"));
    oci.queue("orders").set_group("billing", true);
    let credentials = Credentials::api_key(&oci.profile.config_file, "DEFAULT").unwrap();
    let control = format!("http://{}", oci.address).parse().unwrap();
    (oci, Client::new(credentials, Timestamp::now), control)
}

async fn queues(client: &Client, control: &Endpoint) -> Result<usize, Error> {
    let compartment: CompartmentId = COMPARTMENT.parse().unwrap();
    Ok(client.list_queues(control, &compartment, Instant::now() + LONG).await?.len())
}

async fn groups(client: &Client, control: &Endpoint) -> Result<usize, Error> {
    let queue: QueueId = ocid("orders").parse().unwrap();
    let listed = client.list_groups(control, &queue, Instant::now() + LONG).await?;
    Ok(listed.iter().filter(|group| group.display_name == "billing").count())
}

#[tokio::test]
async fn an_empty_page_is_not_the_last_one() {
    let (oci, client, control) = scene().await;
    let both = [Operation::ListQueues, Operation::ListConsumerGroups];
    oci.set_faults(both.map(|operation| empty_page(operation, Some(2))).to_vec());
    assert_eq!(queues(&client, &control).await.unwrap(), 1);
    assert_eq!(groups(&client, &control).await.unwrap(), 1);
}

#[tokio::test]
async fn pages_without_end_are_an_error_and_no_list() {
    let (oci, client, control) = scene().await;
    let both = [Operation::ListQueues, Operation::ListConsumerGroups];
    oci.set_faults(both.map(|operation| empty_page(operation, None)).to_vec());
    for (listed, limit) in
        [(queues(&client, &control).await, "100 pages"), (groups(&client, &control).await, "10 pages")]
    {
        let error = listed.unwrap_err();
        assert!(matches!(&error, Error::InvalidResponse(text, _) if text.ends_with(limit)), "{error}");
    }
}
