//! Fills a data directory with many deployments that are over: `cargo run --example fill -- DATA_DIR COUNT`. For benchmarks.

use charter_domain::deployment::{Deployment, Wish};
use charter_domain::ids::DeploymentId;
use charter_store::database::Database;
use charter_store::{Commit, Store, Write};
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count] = args.as_slice() else { return Err("say a data directory and how many".into()) };
    let row: serde_json::Value = serde_json::from_str(include_str!("../golden/deployment-v1.json"))?;
    let like: Deployment = serde_json::from_value(row.get("state").cloned().unwrap_or_default())?;
    let store = Database::open(&std::path::Path::new(folder).join("charter.db")).await?;
    let all: Vec<usize> = (0..count.parse()?).collect();
    for part in all.chunks(500) {
        let made = |n: &usize| Write {
            expected: 0,
            state: Deployment {
                id: DeploymentId(format!("dep_fill{n:08}")),
                name: format!("fleet-{n:05}"),
                wish: Wish::Stop,
                ..like.clone()
            },
        };
        store.commit(Commit { deployments: part.iter().map(made).collect(), ..Commit::default() }).await?;
    }
    store.close().await;
    Ok(())
}
