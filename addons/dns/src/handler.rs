//! One request: the zone first, then the outside.

use crate::cluster::Cluster;
use crate::zone::{Answer, Zone};
use hickory_proto::op::{Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_server::net::runtime::Time;
use hickory_server::net::{DnsError, NetError};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use prometheus::IntCounterVec;

/// How many aliases an answer follows.
const MAX_ALIASES: usize = 8;

pub struct Handler<C> {
    pub zone: Zone<C>,
    pub outside: Option<TokioResolver>,
    pub answers: IntCounterVec,
}

/// What goes into a response.
struct Outcome {
    code: ResponseCode,
    ours: bool,
    answers: Vec<Record>,
    authority: Vec<Record>,
}

impl Outcome {
    fn code(code: ResponseCode) -> Self {
        Self { code, ours: false, answers: Vec::new(), authority: Vec::new() }
    }
}

impl<C: Cluster> Handler<C> {
    async fn resolve(&self, name: &Name, kind: RecordType) -> Outcome {
        let mut answers: Vec<Record> = Vec::new();
        let mut name = name.clone();
        for _ in 0..MAX_ALIASES {
            let (code, mut found) = match self.zone.answer(&name, kind) {
                Answer::Elsewhere => {
                    let mut outside = self.forward(&name, kind).await;
                    answers.append(&mut outside.answers);
                    return Outcome { answers, ..outside };
                }
                Answer::Records(records) => (ResponseCode::NoError, records),
                Answer::NoData => (ResponseCode::NoError, Vec::new()),
                Answer::NoName => (ResponseCode::NXDomain, Vec::new()),
            };
            let alias = found.iter().find_map(|r| match &r.data {
                RData::CNAME(target) if kind != RecordType::CNAME => Some(target.0.clone()),
                _ => None,
            });
            answers.append(&mut found);
            match alias {
                Some(target) => name = target,
                None => {
                    let authority = if answers.is_empty() { vec![self.soa()] } else { Vec::new() };
                    return Outcome { code, ours: true, answers, authority };
                }
            }
        }
        Outcome::code(ResponseCode::ServFail)
    }

    async fn forward(&self, name: &Name, kind: RecordType) -> Outcome {
        let Some(resolver) = &self.outside else { return Outcome::code(ResponseCode::NXDomain) };
        match resolver.lookup(name.clone(), kind).await {
            Ok(found) => {
                Outcome { answers: found.answers().to_vec(), ..Outcome::code(ResponseCode::NoError) }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Outcome {
                authority: none.soa.iter().map(|soa| soa.as_ref().clone().into_record_of_rdata()).collect(),
                ..Outcome::code(none.response_code)
            },
            Err(e) => {
                tracing::debug!("forwarding {name} {kind}: {e}");
                Outcome::code(ResponseCode::ServFail)
            }
        }
    }

    fn soa(&self) -> Record {
        let domain = &self.zone.domain;
        let at =
            |labels: &str| Name::from_utf8(format!("{labels}.{domain}")).unwrap_or_else(|_| domain.clone());
        let soa = SOA::new(at("ns.dns"), at("hostmaster"), 1, 7200, 1800, 86_400, self.zone.ttl);
        Record::from_rdata(domain.clone(), self.zone.ttl, RData::SOA(soa))
    }
}

#[async_trait::async_trait]
impl<C: Cluster> RequestHandler for Handler<C> {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut reply: R,
    ) -> ResponseInfo {
        let outcome = match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => {
                self.resolve(&Name::from(info.query.name()), info.query.query_type()).await
            }
            Ok(_) => Outcome::code(ResponseCode::NotImp),
            Err(_) => Outcome::code(ResponseCode::FormErr),
        };
        self.answers.with_label_values(&[outcome.code.to_str()]).inc();
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = outcome.code;
        metadata.authoritative = outcome.ours;
        metadata.recursion_available = true;
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            outcome.answers.iter(),
            outcome.authority.iter(),
            [],
            [],
        );
        match reply.send_response(response).await {
            Ok(info) => info,
            Err(e) => {
                tracing::debug!("answering {}: {e}", request.src());
                hickory_proto::op::Header { metadata, counts: Default::default() }.into()
            }
        }
    }
}
