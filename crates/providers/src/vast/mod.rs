//! Vast.ai: containers on other people's machines, found by search and rented by the second.
//!
//! Its API has no idempotency key and loses answers, so the tag is the instance's label, a create is called once, and what
//! became of it is found by the label. What its answers really look like is in `answer`, `row` and `status`.

mod answer;
mod log;
mod order;
mod row;
mod search;
mod status;
mod switch;
mod transport;

use crate::port::{CreateError, Descriptor, Kind, Listing, Observed, OfferPage, Provider, ProviderError};
use answer::Ordered;
use async_trait::async_trait;
use charter_domain::ids::Tag;
use charter_domain::instance::{Bid, Instance};
use charter_domain::inventory::Held;
use charter_domain::offer::Offer;
use charter_domain::order::{LaunchWay, Order};
use charter_domain::placement::{Requirement, rank};
use charter_domain::time::{Span, Time};
use charter_remote::{KeyPair, Target};
use hyper::Method;
use row::Row;
use serde_json::{Value, json};
use std::sync::Arc;
use transport::{Endpoint, Transport};

/// Where the service is.
pub const BASE_URL: &str = "https://console.vast.ai";
/// An order that was turned away for coming too soon is sent so often in all.
const ORDERS_MAX: u32 = 4;
/// Rows of one page of the list; the service gives no more.
const PAGE: usize = 25;
/// Pages that are read before a list counts as endless.
const PAGES_MAX: usize = 400;
/// On this computer every pause is so many times shorter.
const HASTE: i64 = 20;

/// Makes the key pair of an instance.
pub type Keys = Arc<dyn Fn(&Tag) -> KeyPair + Send + Sync>;
/// The variable that carries the key of an instance's engine into its container, and the key.
pub type EngineKeys = Arc<dyn Fn(&Tag) -> (String, String) + Send + Sync>;
/// The present time.
pub type Now = Arc<dyn Fn() -> Time + Send + Sync>;

/// The provider.
pub struct Vast {
    name: String,
    transport: Transport,
    keys: Keys,
    /// Set where an image's own entrypoint runs the engine.
    engine_keys: Option<EngineKeys>,
    /// A machine that nobody looks after for so long ends itself.
    silence: Option<Span>,
    now: Now,
    /// The service runs on this computer, and so may its machines.
    loopback: bool,
    account: std::sync::OnceLock<String>,
}

fn error(kind: Kind, message: impl Into<String>) -> ProviderError {
    ProviderError { kind, message: message.into() }
}

fn is_loopback(base: &str) -> bool {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Vast {
    /// A provider at `base`, with an API key.
    ///
    /// # Errors
    /// What is wrong with the address or the key.
    pub fn new(name: &str, base: &str, api_key: &str, keys: Keys, now: Now) -> Result<Self, String> {
        let loopback = is_loopback(base);
        if base.contains('@') {
            return Err(format!("`{}` names a user: write the address alone", base.rsplit('@').next().unwrap_or_default()));
        }
        let safe = base.starts_with("https://") || (loopback && base.starts_with("http://"));
        if !safe {
            return Err(format!("`{base}` is no address with `https://`: the API key would travel in the clear"));
        }
        let transport = Transport::new(base, api_key, if loopback { HASTE } else { 1 })?;
        let account = std::sync::OnceLock::new();
        Ok(Self { name: name.to_owned(), transport, keys, engine_keys: None, silence: None, now, loopback, account })
    }

    /// Lets the image's own entrypoint run the engine, and reaches it through a port of the host: no SSH.
    #[must_use]
    pub fn with_entrypoint(self, engine_keys: EngineKeys) -> Self {
        Self { engine_keys: Some(engine_keys), ..self }
    }

    /// Makes machines end themselves when nobody has looked after them for so long.
    #[must_use]
    pub fn with_switch(self, silence: Option<Span>) -> Self {
        Self { silence, ..self }
    }

    async fn search(&self, body: &Value, disk_bytes: u64) -> Result<Vec<Offer>, ProviderError> {
        let found = self.transport.ask(Endpoint::Search, &Method::POST, "/api/v0/bundles/", Some(body)).await?;
        let Some(rows) = found.get("offers").and_then(Value::as_array) else {
            return Err(error(Kind::Transient, "the answer to a search holds no offers"));
        };
        let now = (self.now)();
        Ok(rows.iter().filter_map(|row| search::offer(&self.name, row, disk_bytes, now)).collect())
    }

    /// All instances whose label begins with `prefix`; false when the list is not whole.
    async fn rows(&self, filter: &Value) -> Result<(Vec<Value>, bool), ProviderError> {
        let mut all: Vec<Value> = vec![];
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let token = after.as_deref().map_or(String::new(), |t| format!("&after_token={}", encode(t)));
            let order = encode(r#"[{"col":"id","dir":"asc"}]"#);
            let path =
                format!("/api/v1/instances/?select_filters={}&order_by={order}&limit={PAGE}{token}", encode(&filter.to_string()));
            let page = self.transport.ask(Endpoint::List, &Method::GET, &path, None).await?;
            let Some(rows) = page.get("instances").and_then(Value::as_array) else {
                return Err(error(Kind::Transient, "the answer to a list holds no instances"));
            };
            all.extend(rows.iter().cloned());
            let before = after;
            after = page.get("next_token").and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
            if after.is_some() && after == before {
                // The same page again and again is no list.
                return Ok((all, false));
            }
            if after.is_none() {
                // A list that ends before its own count is cut short.
                let total = page.get("total_instances").or_else(|| page.get("instances_found")).and_then(Value::as_u64);
                let whole = total.is_none_or(|n| n <= u64::try_from(all.len()).unwrap_or(u64::MAX));
                return Ok((all, whole));
            }
        }
        Ok((all, false))
    }

    async fn one(&self, id: &str) -> Result<Option<Value>, ProviderError> {
        let path = format!("/api/v0/instances/{}/?owner=me", number(id)?);
        match self.transport.ask(Endpoint::Read, &Method::GET, &path, None).await {
            Ok(found) => match found.get("instances") {
                Some(Value::Null) => Ok(None),
                Some(row @ Value::Object(_)) => Ok(Some(row.clone())),
                Some(Value::Array(rows)) => Ok(rows.first().cloned()),
                _ => Err(error(Kind::Transient, "the answer about an instance holds none")),
            },
            Err(ProviderError { kind: Kind::NotFound, .. }) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// The offer as it can be had at this moment, under the id that it has now.
    async fn resolve(&self, wanted: &Offer, order: &Order) -> Result<String, ProviderError> {
        let gone = || error(Kind::NoCapacity, "the offer is gone: its machine is taken, or costs more now");
        let body = search::of_machine(&wanted.host, wanted.gpus.len(), order.disk_bytes).ok_or_else(gone)?;
        let offers = self.search(&body, order.disk_bytes).await?;
        let found = search::replacement(&offers, wanted, order.max_price.map(|p| p.0));
        found.map(|offer| offer.id.clone()).ok_or_else(gone)
    }

    /// Which account the key belongs to; asked once.
    async fn account(&self) -> Result<String, ProviderError> {
        if let Some(known) = self.account.get() {
            return Ok(known.clone());
        }
        let user = self.transport.ask(Endpoint::Account, &Method::GET, "/api/v0/users/current", None).await?;
        let row = Row(&user);
        let id = row.whole("id").map(|id| id.to_string()).or_else(|| row.text("email").map(str::to_owned));
        let id = id.ok_or_else(|| error(Kind::Transient, "the answer about the account holds no id"))?;
        Ok(self.account.get_or_init(|| id).clone())
    }

    /// What this account does not know may live on in another one.
    async fn same_account(&self, instance: &Instance) -> Result<(), ProviderError> {
        let Some(rented_by) = &instance.account else { return Ok(()) };
        let present = self.account().await?;
        if present == *rented_by {
            return Ok(());
        }
        let why =
            format!("it was rented by account {rented_by}, and the API key belongs to account {present}: put the other key back");
        Err(error(Kind::Auth, why))
    }

    async fn delete(&self, id: &str) -> Result<(), ProviderError> {
        let path = format!("/api/v0/instances/{}/", number(id)?);
        match self.transport.ask(Endpoint::Destroy, &Method::DELETE, &path, Some(&json!({}))).await {
            Ok(_) | Err(ProviderError { kind: Kind::NotFound, .. }) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    async fn attach(&self, id: &str, tag: &Tag) -> Result<(), ProviderError> {
        let body = json!({"ssh_key": (self.keys)(tag).public_line()});
        let path = format!("/api/v0/instances/{}/ssh/", number(id)?);
        self.transport.ask(Endpoint::Key, &Method::POST, &path, Some(&body)).await.map(drop)
    }
}

fn instance(id: u64, bid: &Bid, account: Option<String>, now: Time) -> Instance {
    let (id, tag, placement) = (id.to_string(), bid.tag.clone(), bid.placement.clone());
    Instance { id, tag, placement, address: None, host_key: None, account, since: now }
}

/// An id becomes part of a path: only a number may.
fn number(id: &str) -> Result<u64, ProviderError> {
    id.parse().map_err(|_| error(Kind::Invalid, format!("`{id}` is no id of an instance")))
}

/// The tag of an instance: its label, or where that was lost, the first line of its start script, or its environment.
fn tag_of(row: &Row<'_>) -> Option<Tag> {
    let script = || row.text("onstart")?.lines().next()?.strip_prefix("# ").map(str::trim).and_then(Tag::parse);
    let environment = || {
        let pairs = row.0.get("extra_env")?.as_array()?;
        let ours = pairs.iter().find(|pair| pair.get(0).and_then(Value::as_str) == Some(order::TAG_VARIABLE))?;
        ours.get(1).and_then(Value::as_str).and_then(Tag::parse)
    };
    row.text("label").and_then(Tag::parse).or_else(script).or_else(environment)
}

/// A text as part of a query.
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte))
        } else {
            out.push_str(&format!("%{byte:02X}"))
        }
        out
    })
}

#[async_trait]
impl Provider for Vast {
    fn name(&self) -> &str {
        &self.name
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            kind: "vast",
            // New contracts have been missed in lists for some seconds; a minute is on the safe side.
            visibility_horizon: self.transport.span(Span::s(90)),
            absence_looks: 2,
            absence_gap: self.transport.span(Span::s(30)),
            look_gap: self.transport.span(Span::s(2)),
            rented: true,
            container: Some(if self.engine_keys.is_some() { LaunchWay::Args } else { LaunchWay::Ssh }),
        }
    }

    async fn offers(&self, need: &Requirement) -> OfferPage {
        let mut page = OfferPage::default();
        for wide in [false, true] {
            for body in search::bodies(need, wide) {
                match self.search(&body, need.disk_bytes).await {
                    Ok(found) => {
                        let new: Vec<Offer> = found.into_iter().filter(|o| !page.offers.iter().any(|p| p.id == o.id)).collect();
                        page.offers.extend(new);
                    }
                    Err(failed) => {
                        let lasting = matches!(failed.kind, Kind::Auth | Kind::Funds | Kind::Invalid);
                        page.problems.push((format!("`{}`: {failed}", self.name), lasting));
                        return page;
                    }
                }
            }
            // Only where nothing fits is it worth another question to know why.
            if need.offer.is_some() || !rank(need, &page.offers).fitting.is_empty() {
                break;
            }
        }
        page
    }

    async fn create(&self, bid: &Bid, now: Time) -> Result<Instance, CreateError> {
        let Some(order) = &bid.placement.order else {
            return Err(CreateError::Refused(error(Kind::Invalid, "nothing was ordered")));
        };
        let ask = self.resolve(&bid.placement.offer, order).await.map_err(CreateError::Refused)?;
        let path = format!("/api/v0/asks/{}/", number(&ask).map_err(CreateError::Refused)?);
        let switch = self.silence.map_or(String::new(), |silence| switch::script(self.transport.base(), silence));
        let engine_key = self.engine_keys.as_ref().map(|key| key(&bid.tag));
        let body = order::body(bid, order, &(self.keys)(&bid.tag).public_line(), &switch, engine_key);
        let account = self.account().await.ok();
        for tried in 1.. {
            let answer = match self.transport.once(Endpoint::Create, &Method::PUT, &path, Some(&body)).await {
                Ok(answer) => answer,
                Err(lost @ transport::Lost::NotSent(_)) => return Err(CreateError::Refused(lost.error())),
                Err(lost @ transport::Lost::Sent(_)) => return Err(CreateError::Unknown(lost.error())),
            };
            match answer.ordered() {
                Ok(id) => return Ok(instance(id, bid, account, now)),
                // Turned away at the door: nothing was begun, and the same offer may be asked for again.
                Err(Ordered::Refused(ProviderError { kind: Kind::RateLimited(wait), .. })) if tried < ORDERS_MAX => {
                    self.transport.close(Endpoint::Create, self.transport.span(wait));
                }
                Err(Ordered::Refused(failed)) => return Err(CreateError::Refused(failed)),
                Err(Ordered::Unknown(failed)) => return Err(CreateError::Unknown(failed)),
            }
        }
        Err(CreateError::Refused(error(Kind::Transient, "asked too often")))
    }

    async fn find(&self, bid: &Bid, now: Time) -> Result<Option<Instance>, ProviderError> {
        // All rows: a label may be lost, and the tag stands in the start script too.
        let (rows, whole) = self.rows(&json!({})).await?;
        let same = rows.iter().map(Row).filter(|row| tag_of(row).as_ref() == Some(&bid.tag));
        match same.filter_map(|row| row.whole("id")).min() {
            Some(id) => Ok(Some(instance(id, bid, self.account().await.ok(), now))),
            None if whole => Ok(None),
            None => Err(error(Kind::Transient, "the list of instances is not whole")),
        }
    }

    async fn observe(&self, instance: &Instance) -> Result<Observed, ProviderError> {
        self.same_account(instance).await?;
        let order = instance.placement.order.as_ref();
        let (disk, max) = (order.map_or(0, |o| o.disk_bytes), order.and_then(|o| o.max_price));
        let row = self.one(&instance.id).await?;
        let seen = status::Seen { disk_gb: search::disk_gb(disk), max, loopback: self.loopback, mapped: instance.mapped_port() };
        Ok(row.map_or(Observed::Absent, |row| status::observe(&row, &seen)))
    }

    async fn log(&self, instance: &Instance) -> Result<Option<String>, ProviderError> {
        match instance.mapped_port() {
            Some(_) => self.container_log(&instance.id).await.map(Some),
            None => Ok(None),
        }
    }

    async fn admit(&self, instance: &Instance) -> Result<(), ProviderError> {
        self.attach(&instance.id, &instance.tag).await
    }

    async fn is_present(&self, instance: &Instance) -> Result<bool, ProviderError> {
        self.same_account(instance).await?;
        if self.one(&instance.id).await?.is_some() {
            return Ok(true);
        }
        // One read may be wrong; and somebody who repeats orders may have made a second one under the same tag.
        let (rows, whole) = self.rows(&json!({})).await?;
        let ours = |row: &Row<'_>| {
            tag_of(row).as_ref() == Some(&instance.tag) || row.whole("id").is_some_and(|id| id.to_string() == instance.id)
        };
        match rows.iter().map(Row).any(|row| ours(&row)) {
            true => Ok(true),
            false if whole => Ok(false),
            false => Err(error(Kind::Transient, "the list of instances is not whole")),
        }
    }

    async fn destroy(&self, instance: &Instance) -> Result<(), ProviderError> {
        self.same_account(instance).await?;
        self.delete(&instance.id).await?;
        let (rows, _) = self.rows(&json!({})).await?;
        let twins = rows.iter().map(Row).filter(|row| tag_of(row).as_ref() == Some(&instance.tag));
        let twins: Vec<String> =
            twins.filter_map(|row| row.whole("id")).map(|id| id.to_string()).filter(|id| *id != instance.id).collect();
        for twin in twins {
            tracing::warn!(id = twin, tag = %instance.tag, "a second instance of the same tag is ended too");
            self.delete(&twin).await?;
        }
        Ok(())
    }

    async fn list(&self, owner: &str) -> Listing {
        match self.rows(&json!({})).await {
            Ok((rows, complete)) => {
                let ours = rows.iter().map(Row).filter_map(|row| {
                    let tag = tag_of(&row).filter(|t| t.to_string().starts_with(owner))?;
                    Some((tag, row.whole("id")?.to_string()))
                });
                Listing { tags: ours.collect(), complete }
            }
            Err(failed) => {
                tracing::warn!(%failed, provider = self.name, "its instances could not be listed");
                Listing { tags: vec![], complete: false }
            }
        }
    }

    async fn inventory(&self) -> Result<(Vec<Held>, bool), ProviderError> {
        let (rows, whole) = self.rows(&json!({})).await?;
        let held = rows.iter().map(Row).filter_map(|row| {
            let text =
                |name: &str| row.text(name).unwrap_or_default().chars().filter(|c| !c.is_control()).take(80).collect::<String>();
            Some(Held {
                id: row.whole("id")?.to_string(),
                tag: tag_of(&row),
                label: text("label"),
                price: row::price(&row, row.whole("disk_space").unwrap_or(0)).unwrap_or_default(),
                status: text("actual_status"),
            })
        });
        Ok((held.collect(), whole))
    }

    async fn destroy_stray(&self, tag: Option<&Tag>, host: &str) -> Result<(), ProviderError> {
        // Ids are not used twice, but labels can be changed by hand: what is ended must be ours at this moment, in the words of
        // the list that showed it.
        let (rows, whole) = self.rows(&json!({})).await?;
        let listed = rows.iter().map(Row).find(|row| row.whole("id").is_some_and(|id| id.to_string() == host));
        match listed.map(|row| tag_of(&row)) {
            Some(found) if found.as_ref() == tag => self.delete(host).await,
            Some(_) => Ok(()),
            None if whole => Ok(()),
            None => Err(error(Kind::Transient, "the list of instances is not whole")),
        }
    }

    fn key_file(&self, _: &Instance) -> Option<String> {
        None
    }

    fn target(&self, instance: &Instance) -> Result<Target, ProviderError> {
        if instance.mapped_port().is_some() {
            return Err(error(Kind::Invalid, "its image's own entrypoint runs the engine: there is no SSH"));
        }
        let Some(address) = instance.address.clone() else {
            return Err(error(Kind::Transient, "its address is not known yet"));
        };
        let key = (self.keys)(&instance.tag);
        Ok(Target { host: address.host, port: address.port, user: address.user, key, host_key: instance.host_key.clone() })
    }
}
