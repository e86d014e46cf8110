//! The objects of a manifest match each other: selectors, ports, grace period and drain.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::Service,
        networking::v1::{NetworkPolicyEgressRule, NetworkPolicySpec},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::manifest::{KubernetesObject, Manifest};

type Labels = BTreeMap<String, String>;

fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn matched(selector: Option<&LabelSelector>) -> Labels {
    selector.and_then(|selector| selector.match_labels.clone()).unwrap_or_default()
}

#[test]
fn every_selector_matches_the_daemon_and_no_other_pod() {
    for manifest in crate::manifests() {
        let name = &manifest.name;
        let selectors = manifest.objects.iter().filter_map(|object| match object {
            KubernetesObject::Deployment(object) => {
                Some(("Deployment", matched(Some(&object.spec.as_ref()?.selector))))
            }
            KubernetesObject::StatefulSet(object) => {
                Some(("StatefulSet", matched(Some(&object.spec.as_ref()?.selector))))
            }
            KubernetesObject::PodDisruptionBudget(object) => {
                Some(("budget", matched(object.spec.as_ref()?.selector.as_ref())))
            }
            KubernetesObject::NetworkPolicy(object) => {
                Some(("policy", matched(object.spec.as_ref()?.pod_selector.as_ref())))
            }
            KubernetesObject::Service(object) => Some(("Service", object.spec.as_ref()?.selector.clone()?)),
            _ => None,
        });
        let daemon = manifest.daemon().0.labels.clone().unwrap();
        for (what, selector) in selectors {
            assert!(selects(&selector, &daemon), "{name}: {what} selects {selector:?}, the daemon is {daemon:?}");
            for (metadata, _) in manifest.pods() {
                let labels = metadata.labels.clone().unwrap();
                assert!(labels == daemon || !selects(&selector, &labels), "{name}: {what} selects {labels:?} too");
            }
        }
    }
}

fn services(manifest: &Manifest) -> BTreeMap<String, &Service> {
    let named = manifest.objects.iter().filter_map(|object| match object {
        KubernetesObject::Service(service) => Some((service.metadata.name.clone()?, service)),
        _ => None,
    });
    named.collect()
}

/// The container port that a port of a Service targets.
fn target_port(manifest: &Manifest, service: &Service, port: &str) -> Option<i32> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let port = ports.iter().find(|known| known.name.as_deref() == Some(port) || known.port.to_string() == port)?;
    let Some(IntOrString::String(target)) = &port.target_port else { return None };
    let ports = manifest.daemon().1.containers[0].ports.as_ref()?;
    ports.iter().find(|port| port.name.as_ref() == Some(target)).map(|port| port.container_port)
}

#[test]
fn only_the_public_listener_is_routed() {
    let mut routed = 0;
    for manifest in crate::manifests() {
        let services = services(&manifest);
        assert_eq!(services.len(), 2, "{}", manifest.name);
        for object in &manifest.objects {
            let backends: Vec<(String, String)> = match object {
                KubernetesObject::Ingress(ingress) => {
                    let rules = ingress.spec.as_ref().unwrap().rules.clone().unwrap();
                    let paths = rules.into_iter().flat_map(|rule| rule.http.unwrap().paths);
                    let services = paths.map(|path| path.backend.service.unwrap());
                    services.map(|service| (service.name, service.port.unwrap().name.unwrap())).collect()
                }
                KubernetesObject::Custom(custom) if custom.kind == "HTTPRoute" => {
                    let backend = &custom.spec["rules"][0]["backendRefs"][0];
                    vec![(backend["name"].as_str().unwrap().to_owned(), backend["port"].as_u64().unwrap().to_string())]
                }
                _ => continue,
            };
            for (service, port) in backends {
                routed += 1;
                assert_eq!(target_port(&manifest, services[&service], &port), Some(8080), "{}", manifest.name);
            }
        }
        // A Service for the operator's listener must be headless, so that it exposes no port outside.
        for (name, service) in services {
            if target_port(&manifest, service, "operator") == Some(9090) {
                assert_eq!(service.spec.as_ref().unwrap().cluster_ip.as_deref(), Some("None"), "{name}");
            }
        }
    }
    assert!(routed > 0, "no manifest contains a route");
}

#[test]
fn the_grace_period_outlasts_the_drain() {
    for manifest in crate::manifests() {
        let configuration: toml::Table = manifest.configuration().parse().unwrap();
        let seconds = |key: &str| {
            let text = configuration["shutdown"][key].as_str().unwrap();
            Duration::try_from(text.parse::<jiff::SignedDuration>().unwrap()).unwrap().as_secs()
        };
        let (_, pod) = manifest.daemon();
        let lifecycle = pod.containers[0].lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let sleep = lifecycle.and_then(|hook| hook.sleep.as_ref()).map_or(0, |sleep| sleep.seconds.unsigned_abs());
        let grace = pod.termination_grace_period_seconds.unwrap().unsigned_abs();
        // Jobs that are left after the grace period are returned to the store within two seconds.
        let drain = sleep + seconds("drain_delay") + seconds("grace") + 2;
        assert!(drain < grace, "{}: draining takes up to {drain} s, but the grace period is {grace} s", manifest.name);
        // A single pod has no other pod to shift requests to.
        if manifest.configuration().contains("url = \"embedded:") {
            assert_eq!((sleep, seconds("drain_delay")), (0, 0), "{}", manifest.name);
            continue;
        }
        let ready = pod.containers[0].readiness_probe.as_ref().unwrap();
        let noticed = ready.period_seconds.unwrap() * ready.failure_threshold.unwrap();
        assert!(
            u64::from(noticed.unsigned_abs()) < sleep + seconds("drain_delay"),
            "{}: probes take {noticed} s to notice that the pod is shutting down",
            manifest.name
        );
    }
}

#[test]
fn liveness_and_readiness_probes_use_their_endpoints() {
    for manifest in crate::manifests() {
        let container = &manifest.daemon().1.containers[0];
        for (probe, path) in [
            (&container.startup_probe, "/livez"),
            (&container.liveness_probe, "/livez"),
            (&container.readiness_probe, "/readyz"),
        ] {
            let get = probe.as_ref().unwrap().http_get.as_ref().unwrap();
            assert_eq!(get.path.as_deref(), Some(path), "{}", manifest.name);
            assert_eq!(get.port, IntOrString::String("operator".to_owned()), "{}", manifest.name);
        }
    }
}

#[test]
fn the_embedded_store_is_one_process_on_one_volume() {
    for manifest in crate::manifests() {
        let embedded = manifest.configuration().contains("url = \"embedded:/var/lib/countersign\"");
        let set = manifest.objects.iter().find_map(|object| match object {
            KubernetesObject::StatefulSet(set) => set.spec.as_ref(),
            _ => None,
        });
        assert_eq!(embedded, set.is_some(), "{}", manifest.name);
        let mounts = manifest.daemon().1.containers[0].volume_mounts.as_ref().unwrap();
        let data = mounts.iter().find(|mount| mount.mount_path == "/var/lib/countersign");
        assert_eq!(embedded, data.is_some(), "{}", manifest.name);
        if let Some(set) = set {
            assert_eq!(set.replicas, Some(1), "{}", manifest.name);
            let claims = set.volume_claim_templates.as_ref().unwrap();
            assert_eq!(claims[0].metadata.name.as_ref(), Some(&data.unwrap().name));
        }
        let budget = manifest.objects.iter().any(|object| matches!(object, KubernetesObject::PodDisruptionBudget(_)));
        assert_eq!(
            budget, !embedded,
            "{}: a disruption budget for a single pod would block every node drain",
            manifest.name
        );
    }
}

#[test]
fn egress_is_restricted() {
    let mut policies = 0;
    for manifest in crate::manifests() {
        for object in &manifest.objects {
            let KubernetesObject::NetworkPolicy(policy) = object else { continue };
            policies += 1;
            let spec = policy.spec.as_ref().unwrap();
            assert_eq!(spec.policy_types.as_deref(), Some(&["Ingress".to_owned(), "Egress".to_owned()][..]));
            let faults = open_egress(spec);
            assert!(faults.is_empty(), "{}: {faults:?}", manifest.name);
            if manifest.name == "kubernetes.yaml" {
                assert!(spec.egress.iter().flatten().all(|rule| rule.to.is_some()));
            }
            let mut closed = spec.clone();
            closed.egress.as_mut().unwrap().push(NetworkPolicyEgressRule::default());
            assert_eq!(open_egress(&closed).len(), 1, "a rule without ports and peers is reported");
        }
    }
    assert!(policies > 0, "no manifest contains a network policy");
}

/// Egress rules that allow an entire private network or all addresses.
fn open_egress(spec: &NetworkPolicySpec) -> Vec<String> {
    let mut faults = Vec::new();
    for rule in spec.egress.iter().flatten() {
        let ports: Vec<i32> = rule
            .ports
            .iter()
            .flatten()
            .filter_map(|port| match &port.port {
                Some(IntOrString::Int(port)) => Some(*port),
                _ => None,
            })
            .collect();
        let everywhere = rule.to.iter().flatten().filter_map(|peer| peer.ip_block.as_ref());
        let everywhere: Vec<_> = everywhere.filter(|block| block.cidr.ends_with("/0")).collect();
        // DNS and Redis may be anywhere by default; the operator can restrict them.
        if rule.to.is_none() && !matches!(ports.as_slice(), [53, 53] | [6379]) {
            faults.push(format!("{ports:?} to anywhere"));
        }
        for block in everywhere {
            let spared = block.except.clone().unwrap_or_default();
            let needed: &[&str] = if block.cidr.contains(':') {
                &["fc00::/7"]
            } else {
                &["10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"]
            };
            if ports.as_slice() != [443] || !needed.iter().all(|network| spared.iter().any(|known| known == network)) {
                faults.push(format!("{ports:?} to {}", block.cidr));
            }
        }
    }
    faults
}

/// Services of IPv6 alone reach only pods that listen on IPv6.
#[test]
fn pods_listen_in_every_family_of_their_services() {
    let mut ipv6 = 0;
    for manifest in crate::manifests() {
        let configuration: toml::Table = manifest.configuration().parse().unwrap();
        let listeners = ["listen", "operator_listen"].map(|key| configuration[key].as_str().unwrap().to_owned());
        for (name, service) in services(&manifest) {
            let families = service.spec.as_ref().unwrap().ip_families.clone().unwrap_or_default();
            let wants_ipv6 = families.iter().any(|family| family == "IPv6");
            ipv6 += usize::from(wants_ipv6);
            let any = if wants_ipv6 { "[::]:" } else { "0.0.0.0:" };
            assert!(listeners.iter().all(|address| address.starts_with(any)), "{} {name}: {listeners:?}", manifest.name);
        }
    }
    // Only the renders of the chart's values contain such Services.
    assert!(ipv6 == 2 || std::env::var_os("COUNTERSIGN_RENDERS").is_none(), "{ipv6}");
}
