//! What `explain` has read about one HPA. Pure.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::cli::autoscaler::warnings::Waiting;
use crate::cli::autoscaler::{Autoscaler, Question};
use crate::cli::external_metrics::Item;
use crate::cli::kube_api::RequestError;
use crate::hpa::{self, Answer, Controller, Desired, NoProposal, Proposal, Target, Workload};
use crate::metric::quantity::Quantity;

/// An HPA, its workload and its metrics at one moment.
pub(super) struct Seen<'o> {
    pub(super) hpa: &'o Autoscaler<'o>,
    /// How the HPA controller of the cluster counts.
    pub(super) controller: Controller,
    /// The workload, or why it is not known.
    pub(super) workload: Result<Workload, String>,
    /// One for each metric of the HPA.
    pub(super) heard: Vec<Heard>,
    /// The next change of metrics whose changes are known in advance, by the title of the request.
    pub(super) next_changes: HashMap<String, String>,
    pub(super) now: Timestamp,
}

/// What was read of one metric.
pub(super) enum Heard {
    Asked {
        question: Question,
        answer: Result<Vec<Item>, RequestError>,
    },
    /// A metric of another API, in words.
    NotAsked(String),
}

// === impl Seen ===

impl Seen<'_> {
    /// What the workload waits for, by the metrics that were read.
    pub(super) fn waiting(&self) -> Waiting {
        let of = |heard: &Heard| match heard {
            Heard::Asked { answer, .. } => Waiting::of(self.hpa, answer.as_deref()),
            Heard::NotAsked(_) => Waiting::No,
        };
        self.heard.iter().map(of).max().unwrap_or(Waiting::No)
    }

    /// The size that the HPA controller sets, or why that is unknown.
    pub(super) fn desired(&self) -> Result<Desired, &str> {
        let workload = self.workload.as_ref().map_err(String::as_str)?;
        let metrics: Vec<hpa::Metric> = self.heard.iter().map(Heard::metric).collect();
        Ok(hpa::desired(self.controller, &self.hpa.written().sizes(), workload, &metrics))
    }

    /// Its External metrics, and whether each has a value.
    pub(super) fn read(&self) -> Vec<(&str, bool)> {
        let external = self.heard.iter().filter_map(|heard| match heard {
            Heard::Asked { question, answer } => Some((question, answer)),
            Heard::NotAsked(_) => None,
        });
        let has_value = |answer: &Result<Vec<Item>, RequestError>| answer.as_ref().is_ok_and(|items| !items.is_empty());
        external.map(|(question, answer)| (question.metric.as_str(), has_value(answer))).collect()
    }

    /// Whether no answer comes from depthgauge, because kube-apiserver can't reach it.
    pub(super) fn is_without_api(&self) -> bool {
        let of_api = |heard: &Heard| matches!(heard, Heard::Asked { answer: Err(trouble), .. } if trouble.is_of_api());
        self.heard.iter().any(of_api)
    }

    /// The metrics that were not requested, in words.
    pub(super) fn not_asked(&self) -> Option<String> {
        let words = self.heard.iter().filter_map(|heard| match heard {
            Heard::NotAsked(words) => Some(words.as_str()),
            Heard::Asked { .. } => None,
        });
        let words: Vec<&str> = words.collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// A condition's message, without the server's messages that the account shows as answers.
    pub(super) fn untold(&self, message: &str) -> String {
        self.heard.iter().fold(message.to_owned(), |message, heard| match heard {
            Heard::Asked { answer: Err(trouble), .. } if !trouble.message().is_empty() => {
                message.replace(trouble.message(), "(the answer above)")
            }
            _ => message,
        })
    }

    /// The metric that prevents a scale-down. Its answer shows why.
    pub(super) fn first_failure(&self, desired: &Desired) -> Option<String> {
        let failed =
            |proposal: &Result<Proposal, NoProposal>| matches!(proposal, Err(NoProposal::NoValue | NoProposal::NoPods));
        let (at, proposal) = desired.proposals.iter().enumerate().find(|(_, proposal)| failed(proposal))?;
        match self.heard.get(at)? {
            Heard::Asked { question, .. } => {
                let lacks = if *proposal == Err(NoProposal::NoPods) { "no pods to count" } else { "no value" };
                Some(format!("{} has {lacks}", question.title()))
            }
            Heard::NotAsked(_) => None,
        }
    }
}

// === impl Heard ===

impl Heard {
    /// The metric as the controller counts it.
    pub(super) fn metric(&self) -> hpa::Metric {
        // The target of a metric that was not read does not count.
        let none = Target::AverageValue(0);
        match self {
            Self::NotAsked(_) => hpa::Metric { target: none, answer: Answer::NotAsked },
            Self::Asked { question, answer } => {
                let target = question.target.unwrap_or(none);
                let number = |item: &Item| item.quantity.map(Quantity::milli);
                let numbers = answer.as_ref().ok().and_then(|items| items.iter().map(number).collect());
                let sum = numbers.and_then(|numbers: Vec<i64>| target.sum(&numbers));
                let answer = sum.filter(|_| question.target.is_some()).map_or(Answer::Failed, Answer::Sum);
                hpa::Metric { target, answer }
            }
        }
    }
}
