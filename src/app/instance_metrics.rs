//! The metric series of the configured instances.

use jiff::Timestamp;

use crate::{
    metrics::{
        Metrics,
        label::{ByGateway, InstanceInfo, InstanceLabel},
    },
    service::Instances,
};

/// Creates the series of all instances, and replaces `instance_info`.
pub(super) fn register_instances(metrics: &Metrics, instances: &Instances, now: Timestamp) {
    metrics.instance_info.clear();
    let all = instances.all();
    for instance in &all {
        let (id, gateway) = (instance.config.id, instance.gateway.kind());
        metrics.init_instance_series(id, gateway, all.len());
        let from = ByGateway { instance: InstanceLabel(id), gateway };
        if metrics.gateway_last_inbound_timestamp_seconds.get(&from).is_none() {
            metrics.gateway_last_inbound_timestamp_seconds.get_or_create(&from).set(seconds(now));
        }
        let state = if instance.config.disabled { "disabled" } else { "enabled" };
        let info = InstanceInfo { instance: InstanceLabel(id), name: instance.config.name.clone(), gateway, state };
        metrics.instance_info.get_or_create(&info).set(1);
    }
}

/// Unix time in seconds.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
