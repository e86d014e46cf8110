//! Every pod satisfies the Pod Security profile "restricted" and some further rules.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::manifest::Manifest;

#[test]
fn every_pod_satisfies_the_restricted_profile() {
    for manifest in crate::manifests() {
        assert!(!manifest.pods().is_empty(), "{}", manifest.name);
        for (_, pod) in manifest.pods() {
            let faults = faults(pod, on_openshift(&manifest));
            assert!(faults.is_empty(), "{}: {faults:?}", manifest.name);
        }
    }
}

/// OpenShift's constraint `restricted-v2` chooses the ids from a range of the namespace, and refuses a pod that names
/// others.
#[test]
fn on_openshift_no_pod_names_ids() {
    for manifest in crate::manifests() {
        for (_, pod) in manifest.pods() {
            let security = pod.security_context.clone().unwrap();
            let named = [security.run_as_user, security.run_as_group, security.fs_group].iter().any(Option::is_some);
            assert_eq!(named, !on_openshift(&manifest), "{}", manifest.name);
        }
    }
}

/// Of the values in `ci` only these are for OpenShift.
fn on_openshift(manifest: &Manifest) -> bool {
    manifest.name.starts_with("openshift-")
}

type PodEdit = fn(&mut PodSpec);

#[test]
fn each_missing_restriction_is_reported() {
    let manifests = crate::manifests();
    let (_, good) = manifests[0].daemon();
    let open: [(&str, PodEdit); 6] = [
        ("token", |pod| pod.automount_service_account_token = None),
        ("links", |pod| pod.enable_service_links = None),
        ("root", |pod| pod.security_context.as_mut().unwrap().run_as_non_root = None),
        ("seccomp", |pod| pod.security_context.as_mut().unwrap().seccomp_profile = None),
        ("root file system", |pod| context(pod).read_only_root_filesystem = Some(false)),
        ("capabilities", |pod| context(pod).capabilities = None),
    ];
    for (what, change) in open {
        let mut pod = good.clone();
        change(&mut pod);
        assert_eq!(faults(&pod, false), [what]);
    }
}

fn context(pod: &mut PodSpec) -> &mut k8s_openapi::api::core::v1::SecurityContext {
    pod.containers[0].security_context.as_mut().unwrap()
}

/// `assigned`: whether the cluster itself assigns a user other than root.
fn faults(pod: &PodSpec, assigned: bool) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let mut check = |what, holds: bool| {
        if !holds {
            faults.push(what);
        }
    };
    check("token", pod.automount_service_account_token == Some(false));
    check("links", pod.enable_service_links == Some(false));
    check("host", pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
    let security = pod.security_context.clone().unwrap_or_default();
    let has_user = security.run_as_user.is_some_and(|user| user > 0);
    check("root", security.run_as_non_root == Some(true) && (assigned || has_user));
    check("seccomp", security.seccomp_profile.is_some_and(|profile| profile.type_ == "RuntimeDefault"));
    for container in &pod.containers {
        let security = container.security_context.clone().unwrap_or_default();
        check("escalation", security.allow_privilege_escalation == Some(false));
        check("root file system", security.read_only_root_filesystem == Some(true));
        let capabilities = security.capabilities.unwrap_or_default();
        check("capabilities", capabilities.drop == Some(vec!["ALL".to_owned()]) && capabilities.add.is_none());
        check("privileged", security.privileged.is_none());
        check("memory", limits(container, "memory"));
        check("secret in the environment", !names_a_secret(container));
    }
    faults
}

fn limits(container: &Container, resource: &str) -> bool {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    limits.is_some_and(|limits| limits.contains_key(resource))
}

fn names_a_secret(container: &Container) -> bool {
    container.env.iter().flatten().any(|variable| {
        let from = variable.value_from.as_ref().is_some_and(|source| source.secret_key_ref.is_some());
        from || ["KEY", "SECRET", "TOKEN", "PASSWORD"].iter().any(|word| variable.name.contains(word))
    })
}
