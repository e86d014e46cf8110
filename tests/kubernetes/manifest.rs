//! Parses manifests as strictly as an API server with `fieldValidation: Strict`.

use std::path::Path;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Pod, PodSpec, PodTemplateSpec, Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_yaml_ng::Value;

/// A manifest file.
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) objects: Vec<KubernetesObject>,
}

/// An object of a kind that `deploy/` contains.
pub(crate) enum KubernetesObject {
    ConfigMap(ConfigMap),
    Service(Service),
    ServiceAccount(ServiceAccount),
    Pod(Pod),
    Deployment(Deployment),
    StatefulSet(StatefulSet),
    PodDisruptionBudget(PodDisruptionBudget),
    HorizontalPodAutoscaler(HorizontalPodAutoscaler),
    NetworkPolicy(NetworkPolicy),
    Ingress(Ingress),
    /// A custom resource. There is no schema for its spec here.
    Custom(Custom),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Custom {
    api_version: String,
    pub(crate) kind: String,
    metadata: ObjectMeta,
    pub(crate) spec: Value,
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match objects(&text) {
            Ok(objects) => Self { name, objects },
            Err(problem) => panic!("{name}: {problem}"),
        }
    }

    /// All pods of the manifest, with their metadata.
    pub(crate) fn pods(&self) -> Vec<(&ObjectMeta, &PodSpec)> {
        self.objects
            .iter()
            .filter_map(|object| match object {
                KubernetesObject::Pod(pod) => Some((&pod.metadata, pod.spec.as_ref().unwrap())),
                _ => object
                    .template()
                    .map(|template| (template.metadata.as_ref().unwrap(), template.spec.as_ref().unwrap())),
            })
            .collect()
    }

    /// The pod template of the daemon.
    pub(crate) fn daemon(&self) -> (&ObjectMeta, &PodSpec) {
        let mut templates = self.objects.iter().filter_map(KubernetesObject::template);
        let template = templates.next().unwrap_or_else(|| panic!("{}: no workload", self.name));
        assert!(templates.next().is_none(), "{}: two workloads", self.name);
        (template.metadata.as_ref().unwrap(), template.spec.as_ref().unwrap())
    }

    /// `config.toml`.
    pub(crate) fn configuration(&self) -> &str {
        let maps = self.objects.iter().filter_map(|object| match object {
            KubernetesObject::ConfigMap(map) => map.data.as_ref()?.get("config.toml"),
            _ => None,
        });
        maps.into_iter().next().unwrap_or_else(|| panic!("{}: no config.toml", self.name))
    }
}

impl KubernetesObject {
    fn template(&self) -> Option<&PodTemplateSpec> {
        match self {
            Self::Deployment(deployment) => Some(&deployment.spec.as_ref().unwrap().template),
            Self::StatefulSet(set) => Some(&set.spec.as_ref().unwrap().template),
            _ => None,
        }
    }

    pub(crate) fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::ConfigMap(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::ServiceAccount(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Deployment(object) => &object.metadata,
            Self::StatefulSet(object) => &object.metadata,
            Self::PodDisruptionBudget(object) => &object.metadata,
            Self::HorizontalPodAutoscaler(object) => &object.metadata,
            Self::NetworkPolicy(object) => &object.metadata,
            Self::Ingress(object) => &object.metadata,
            Self::Custom(object) => &object.metadata,
        }
    }
}

fn objects(text: &str) -> Result<Vec<KubernetesObject>, String> {
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|error| error.to_string())?;
        if !value.is_null() {
            objects.push(object(value)?);
        }
    }
    Ok(objects)
}

fn object(value: Value) -> Result<KubernetesObject, String> {
    let kind = value.get("kind").and_then(Value::as_str).ok_or("an object without a kind")?.to_owned();
    Ok(match kind.as_str() {
        "ConfigMap" => KubernetesObject::ConfigMap(strict(value)?),
        "Service" => KubernetesObject::Service(strict(value)?),
        "ServiceAccount" => KubernetesObject::ServiceAccount(strict(value)?),
        "Pod" => KubernetesObject::Pod(strict(value)?),
        "Deployment" => KubernetesObject::Deployment(strict(value)?),
        "StatefulSet" => KubernetesObject::StatefulSet(strict(value)?),
        "PodDisruptionBudget" => KubernetesObject::PodDisruptionBudget(strict(value)?),
        "HorizontalPodAutoscaler" => KubernetesObject::HorizontalPodAutoscaler(strict(value)?),
        "NetworkPolicy" => KubernetesObject::NetworkPolicy(strict(value)?),
        "Ingress" => KubernetesObject::Ingress(strict(value)?),
        "ServiceMonitor" | "PrometheusRule" | "HTTPRoute" => {
            let custom: Custom = strict(value)?;
            let group =
                if custom.kind == "HTTPRoute" { "gateway.networking.k8s.io/v1" } else { "monitoring.coreos.com/v1" };
            if custom.api_version != group {
                return Err(format!("{} is of {}", custom.kind, custom.api_version));
            }
            KubernetesObject::Custom(custom)
        }
        // This includes Secrets, which must not be part of a manifest in a repository.
        other => return Err(format!("{other} is not an expected kind")),
    })
}

/// Rejects fields that an API server does not know.
fn strict<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(value, |path| unknown.push(path.to_string()));
    match read {
        Err(error) => Err(error.to_string()),
        Ok(_) if !unknown.is_empty() => Err(format!("unknown fields: {}", unknown.join(", "))),
        Ok(read) => Ok(read),
    }
}

#[test]
fn every_field_of_every_manifest_is_known() {
    for manifest in crate::manifests() {
        assert!(manifest.objects.len() >= 6, "{}: only {} objects", manifest.name, manifest.objects.len());
        for object in &manifest.objects {
            let metadata = object.metadata();
            assert!(metadata.name.is_some() && metadata.namespace.is_some(), "{}: {metadata:?}", manifest.name);
        }
    }
}

#[test]
fn misspelled_fields_wrong_types_and_duplicate_keys_are_rejected() {
    let good = crate::file("deploy/kubernetes.yaml");
    for (from, to, seen) in [
        ("strategy:", "strategi:", "strategi"),
        ("readOnlyRootFilesystem", "readOnlyRootFileSystem", "readOnlyRootFileSystem"),
        ("containerPort: 8080", "containerPort: http", "invalid type"),
        ("type: ClusterIP", "type: ClusterIP\n  type: NodePort", "duplicate entry"),
        ("kind: ServiceAccount", "kind: Secret", "not an expected kind"),
        ("unhealthyPodEvictionPolicy", "unhealthyPodsEvictionPolicy", "unhealthyPodsEvictionPolicy"),
    ] {
        assert!(good.contains(from), "the manifest does not contain {from}");
        let problem = objects(&good.replacen(from, to, 1)).err().unwrap_or_default();
        assert!(problem.contains(seen), "{from} as {to}: {problem:?}");
    }
}
