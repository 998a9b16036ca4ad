//! What every store must do with routes, usage and the money of keys.

use crate::Store;
use crate::usage::Of;
use charter_domain::money::Usd;
use charter_domain::routing::{KeyLimits, Policy, Route};
use charter_domain::time::Time;
use charter_domain::usage::{End, Used};
use std::sync::Arc;

const DAY: i64 = 86_400_000;

fn used(number: i64, at: i64, cost: i64) -> Used {
    Used {
        request: format!("req_{number}"),
        at: Time(at),
        key: "k".into(),
        tenant: "lab".into(),
        model: "m".into(),
        group: "g".into(),
        prompt_tokens: 10,
        completion_tokens: 5,
        duration_ms: 100,
        end: End::Done,
        cost: Usd(cost),
        rent: Usd(1),
        ..Used::default()
    }
}

pub(crate) async fn usage_conforms(store: Arc<dyn Store>) {
    let route = Route { policy: Policy::Prefix, ..Route::plain("auto") };
    store.put_route(Route::plain("auto")).await.expect("add");
    store.put_route(route.clone()).await.expect("replace");
    assert_eq!(store.routes().await.expect("read"), [route]);
    assert!(store.remove_route("auto").await.expect("remove") && !store.remove_route("auto").await.expect("again"));

    let first: Vec<Used> = (0..3).map(|n| used(n, 1000 + n, 7)).collect();
    store.record("b1", &first).await.expect("a batch");
    store.record("b1", &first).await.expect("the same batch, whose answer was lost");
    store.record("b2", &[used(3, DAY + 5, 9)]).await.expect("another");
    let of = Of { key: "k".into(), tenant: "lab".into(), model: "m".into(), group: "g".into() };
    let all = store.totals(Time(0)).await.expect("read");
    let sum = all.get(&of).expect("a sum");
    assert_eq!((all.len(), sum.requests, sum.prompt_tokens, sum.cost, sum.rent), (1, 4, 40, Usd(30), Usd(4)));
    assert_eq!(store.totals(Time(DAY)).await.expect("read").get(&of).map(|s| s.requests), Some(1));
    let days = store.daily(Time(0)).await.expect("read");
    assert_eq!(
        days.iter().map(|(day, _, sum)| (*day, sum.requests, sum.cost)).collect::<Vec<_>>(),
        [(0, 3, Usd(21)), (1, 1, Usd(9))]
    );
    assert_eq!(store.daily(Time(DAY)).await.expect("read").len(), 1);
    let newest = store.used(Time(0), 2, &|_| true).await.expect("read");
    assert_eq!(newest.iter().map(|u| u.request.as_str()).collect::<Vec<_>>(), ["req_3", "req_2"]);
    assert_eq!(store.used(Time(0), 9, &|u| u.cost == Usd(7)).await.expect("read").len(), 3);
    store.forget_used(Time(DAY)).await.expect("forget");
    assert_eq!(store.used(Time(0), 9, &|_| true).await.expect("read").len(), 1);
    assert_eq!(store.totals(Time(0)).await.expect("read").get(&of).map(|s| s.requests), Some(4), "sums stay");

    hundred_draw_at_once(&store).await;
    store.put_back("k", Usd(40), Time(6)).await.expect("back");
    let thousand = KeyLimits { day: Some(Usd(1000)), ..KeyLimits::default() };
    assert_eq!(store.draw("k", &thousand, Usd(90), Time(7)).await.expect("draw"), Usd(40), "what was put back is there again");
    let limits = KeyLimits { day: Some(Usd(100)), month: Some(Usd(150)), ..KeyLimits::default() };
    // The second and the third day of a month, and the first of the next one.
    for (at, want, drawn) in [(DAY, 80, 80), (DAY, 80, 20), (2 * DAY, 80, 50), (2 * DAY, 80, 0), (31 * DAY, 80, 80)] {
        assert_eq!(store.draw("month", &limits, Usd(want), Time(at)).await.expect("draw"), Usd(drawn), "{at} {want}");
    }
}

async fn hundred_draw_at_once(store: &Arc<dyn Store>) {
    let limits = KeyLimits { day: Some(Usd(1000)), ..KeyLimits::default() };
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.draw("k", &limits, Usd(30), Time(5)).await.expect("draw").0 })
        })
        .collect();
    let mut drawn = 0;
    for task in tasks {
        drawn += task.await.expect("a task");
    }
    assert_eq!(drawn, 1000, "all of the limit, and no more");
}
