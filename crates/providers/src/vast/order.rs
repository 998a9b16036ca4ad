//! The body of an order.

use super::search;
use charter_domain::instance::Bid;
use charter_domain::order::{Order, Way};
use serde_json::{Value, json};

/// Where the tag stands beside the label, in a container that has no start script.
pub(super) const TAG_VARIABLE: &str = "CHARTER_TAG";

/// Every key that the service's own client sends. The marketplace, its host and everybody who sees the account read it: the
/// only secret in it is the key of the one engine that it starts, and that only where nobody could bring it later.
pub(super) fn body(bid: &Bid, order: &Order, public_line: &str, switch: &str, engine_key: Option<(String, String)>) -> Value {
    let mut env = serde_json::Map::new();
    let mut body = json!({
        "client_id": "me", "image": order.image, "price": null, "disk": search::disk_gb(order.disk_bytes), "label": bid.tag.to_string(),
        "extra": null, "image_login": null, "python_utf8": false, "lang_utf8": false, "use_jupyter_lab": false, "jupyter_dir": null,
        // What cannot be scheduled must not stay behind as a stopped instance that pays for its disk.
        "force": false, "cancel_unavail": true, "template_hash_id": null, "user": null,
    });
    match &order.way {
        Way::Ssh => {
            // Sessions would end up in a terminal multiplexer, and the key must be there before anybody attaches it.
            let onstart = format!(
                "# {}\ntouch ~/.no_auto_tmux; mkdir -p ~/.ssh; chmod 700 ~/.ssh; echo '{public_line}' >> ~/.ssh/authorized_keys; chmod 600 ~/.ssh/authorized_keys\n{switch}",
                bid.tag
            );
            body["onstart"] = onstart.into();
            body["runtype"] = "ssh_direc ssh_proxy".into();
        }
        Way::Args { argv, env: plain, port } => {
            env.extend(plain.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))));
            env.extend(engine_key.map(|(name, value)| (name, Value::from(value))));
            env.insert(TAG_VARIABLE.to_owned(), bid.tag.to_string().into());
            env.insert(format!("-p {port}:{port}"), "1".into());
            body["onstart"] = Value::Null;
            body["runtype"] = "args".into();
            body["args"] = argv.clone().into();
        }
    }
    body["env"] = Value::Object(env);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use charter_domain::ids::{ReplicaId, Tag};
    use charter_domain::money::UsdPerHour;
    use charter_domain::offer::Offer;
    use charter_domain::placement::Placement;

    fn bid(way: Way) -> (Bid, Order) {
        let order = Order { image: "vllm/vllm-openai:v0.33.0".into(), disk_bytes: 60_000_000_000, max_price: None, way };
        let offer = Offer {
            provider: "vast".into(),
            id: "20001".into(),
            host: "7".into(),
            gpus: vec![],
            no_gpu_allowed: true,
            disk_bytes: None,
            driver: None,
            price: UsdPerHour(1),
            market: None,
        };
        let tag = Tag::new("inst", &ReplicaId("rep_1".into()), 1);
        (Bid { tag, placement: Placement { offer, gpus: vec![], order: Some(order.clone()) } }, order)
    }

    #[test]
    fn over_ssh_the_entrypoint_is_replaced_and_no_secret_is_ordered() {
        let (bid, order) = bid(Way::Ssh);
        let body = body(&bid, &order, "ssh-ed25519 AAAA", "watch", Some(("VLLM_API_KEY".into(), "secret".into())));
        assert_eq!(body["runtype"], "ssh_direc ssh_proxy");
        assert!(body["onstart"].as_str().is_some_and(|s| s.starts_with(&format!("# {}\n", bid.tag)) && s.ends_with("\nwatch")));
        assert!(!body.to_string().contains("secret"), "{body}");
    }

    #[test]
    fn with_arguments_the_entrypoint_stays_its_port_is_mapped_and_no_script_is_named() {
        let argv = vec!["org/model".to_owned(), "--port".to_owned(), "8000".to_owned()];
        let (bid, order) = bid(Way::Args { argv, env: vec![("A".into(), "b".into())], port: 8000 });
        let body = body(&bid, &order, "ssh-ed25519 AAAA", "watch", Some(("VLLM_API_KEY".into(), "secret".into())));
        assert_eq!((&body["runtype"], &body["onstart"]), (&json!("args"), &Value::Null));
        assert_eq!(body["args"], json!(["org/model", "--port", "8000"]));
        let env = json!({"A": "b", "VLLM_API_KEY": "secret", "CHARTER_TAG": bid.tag.to_string(), "-p 8000:8000": "1"});
        assert_eq!(body["env"], env);
    }
}
