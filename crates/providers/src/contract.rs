//! What every provider must hold, whatever is behind it. The suite is run against the adapter on scripted answers, the test bed
//! and the provider in memory; a new adapter is done when it passes.

use crate::port::{CreateError, Provider};
use charter_domain::ids::{ReplicaId, Tag};
use charter_domain::instance::{Bid, Instance};
use charter_domain::order::{Order, Way};
use charter_domain::placement::{Placement, Requirement, choose};
use charter_domain::time::Time;

/// Steers what is behind a provider.
pub trait Driver {
    /// The next create takes effect, and its answer never arrives.
    fn lose_next_answer(&self);
    /// The next create is refused: the offer is gone.
    fn refuse_next(&self);
    /// From now on lists end before their end, or no longer.
    fn shorten_lists(&self, short: bool);
}

/// The owner that the suite's tags name.
const OWNER: &str = "contract";

fn must(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("the contract is broken: {what}")) }
}

async fn bid(provider: &dyn Provider, attempt: u32) -> Result<Bid, String> {
    let need = Requirement {
        gpu_count: 1,
        vram_bytes: 16_000_000_000,
        disk_bytes: 20_000_000_000,
        other_names: true,
        ..Requirement::default()
    };
    let page = provider.offers(&need).await;
    must(page.problems.is_empty(), &format!("offers could not be had: {:?}", page.problems))?;
    let placement = choose(&need, &page.offers).map_err(|r| format!("no offer fits: {} were refused", r.len()))?;
    let order = Order { image: "vllm/vllm-openai:v0.33.0".into(), disk_bytes: need.disk_bytes, max_price: None, way: Way::Ssh };
    let tag = Tag::new(OWNER, &ReplicaId("rep_suite".into()), attempt);
    Ok(Bid { tag, placement: Placement { order: Some(order), ..placement } })
}

async fn created(provider: &dyn Provider, bid: &Bid) -> Result<Instance, String> {
    provider.create(bid, Time(0)).await.map_err(|e| format!("a create failed: {e:?}"))
}

async fn tags(provider: &dyn Provider) -> (Vec<Tag>, bool) {
    let listing = provider.list(&Tag::owner_prefix(OWNER)).await;
    (listing.tags.into_iter().map(|(tag, _)| tag).collect(), listing.complete)
}

/// Runs the suite.
///
/// # Errors
/// The first promise that is not kept.
pub async fn run(provider: &dyn Provider, driver: &dyn Driver) -> Result<(), String> {
    let failed = |e: crate::port::ProviderError| e.to_string();
    // What was made is found by its tag, listed under its owner, and present.
    let first = bid(provider, 1).await?;
    must(provider.find(&first, Time(0)).await.map_err(failed)?.is_none(), "nothing stands under a tag before its create")?;
    let instance = created(provider, &first).await?;
    must(instance.tag == first.tag && !instance.id.is_empty(), "an instance carries the tag of its bid, and an id")?;
    let found = provider.find(&first, Time(0)).await.map_err(failed)?;
    must(found.map(|i| i.id) == Some(instance.id.clone()), "a create is found again by its tag")?;
    must(tags(provider).await == (vec![first.tag.clone()], true), "a whole list names what is there, and nothing else")?;
    must(provider.is_present(&instance).await.map_err(failed)?, "what is there is present")?;
    // A list that is cut short does not call itself whole, and does not prove that something is absent.
    driver.shorten_lists(true);
    let never = Bid { tag: Tag::new(OWNER, &ReplicaId("rep_never".into()), 1), ..first.clone() };
    let (seen, complete) = tags(provider).await;
    must(!complete || seen.contains(&first.tag), "a list that is cut short is not whole")?;
    driver.shorten_lists(false);
    must(provider.find(&never, Time(0)).await.map_err(failed)?.is_none(), "a whole list proves that nothing stands under a tag")?;
    // Ending is repeatable.
    provider.destroy(&instance).await.map_err(failed)?;
    provider.destroy(&instance).await.map_err(|e| format!("the second destroy failed: {e}"))?;
    must(!provider.is_present(&instance).await.map_err(failed)?, "what was ended is absent")?;
    // A refusal leaves nothing.
    let second = bid(provider, 2).await?;
    driver.refuse_next();
    let refused = provider.create(&second, Time(0)).await;
    must(matches!(refused, Err(CreateError::Refused(_))), &format!("a refused create is refused: {refused:?}"))?;
    must(provider.find(&second, Time(0)).await.map_err(failed)?.is_none(), "a refused create leaves nothing")?;
    // A lost answer is unknown, and what came of it is found.
    let third = bid(provider, 3).await?;
    driver.lose_next_answer();
    let lost = provider.create(&third, Time(0)).await;
    must(matches!(lost, Err(CreateError::Unknown(_))), &format!("a lost answer is unknown: {lost:?}"))?;
    let found = provider.find(&third, Time(0)).await.map_err(failed)?.ok_or("what came of a lost answer is not found")?;
    // A stray is ended only under its own tag.
    let host = found.id.clone();
    provider.destroy_stray(Some(&first.tag), &host).await.map_err(failed)?;
    must(provider.is_present(&found).await.map_err(failed)?, "a stray of another tag is left alone")?;
    provider.destroy_stray(Some(&third.tag), &host).await.map_err(failed)?;
    must(!provider.is_present(&found).await.map_err(failed)?, "a stray is ended")?;
    must(tags(provider).await == (vec![], true), "nothing is left")
}
