//! Profiles: the ordered plugins of a scheduler name, by extension point.

use std::fmt;

use super::{Filter, MAX_SCORE, Plugin};
use crate::scheduler::plugins::{
    default_preemption::DefaultPreemption, dynamic_resources::DynamicResources, kernel_offers::KernelOffers,
    node_affinity::NodeAffinity, node_name::NodeName, node_ports::NodePorts,
    node_resources_fit::NodeResourcesFit, node_runtime::NodeRuntime, node_unschedulable::NodeUnschedulable,
    priority_sort::PrioritySort, scheduling_gates::SchedulingGates, selector_spread::SelectorSpread,
    taint_toleration::TaintToleration, unsupported_constraints::UnsupportedConstraints,
    volume_binding::VolumeBinding,
};

/// All plugins, in the order in which they run at each extension point; the default profile contains all of them. To add a
/// plugin, write its file and add a line here.
///
/// The weights are upstream's defaults; SelectorSpread has that of PodTopologySpread, which replaced it there.
pub const DEFAULT_PLUGINS: &[PluginEntry] = &[
    entry("SchedulingGates", 1, || Box::new(SchedulingGates)),
    entry("PrioritySort", 1, || Box::new(PrioritySort)),
    entry("UnsupportedConstraints", 1, || Box::new(UnsupportedConstraints)),
    entry("NodeName", 1, || Box::new(NodeName)),
    entry("NodeUnschedulable", 1, || Box::new(NodeUnschedulable)),
    entry("NodeRuntime", 1, || Box::new(NodeRuntime)),
    entry("TaintToleration", 3, || Box::new(TaintToleration)),
    entry("NodeAffinity", 1, || Box::new(NodeAffinity)),
    entry("NodePorts", 1, || Box::new(NodePorts)),
    entry("SelectorSpread", 2, || Box::new(SelectorSpread)),
    entry("NodeResourcesFit", 1, || Box::new(NodeResourcesFit)),
    entry("VolumeBinding", 1, || Box::new(VolumeBinding)),
    entry("DynamicResources", 1, || Box::new(DynamicResources)),
    entry("DefaultPreemption", 1, || Box::new(DefaultPreemption)),
    entry("KernelOffers", 1, || Box::new(KernelOffers)),
];

/// Without these a Pod would be launched on resources that are not offered, or a bound Pod on another node.
const REQUIRED: [&str; 2] = ["NodeName", "KernelOffers"];

/// Maximum number of plugins in a profile: [`PluginSet`] has one bit each.
const PLUGINS_MAX: usize = 64;

/// Maximum weight: the weighted sum of [`PLUGINS_MAX`] scores must fit into 64 bits.
const WEIGHT_MAX: i64 = i64::MAX / MAX_SCORE / 64;

/// A plugin that profiles can contain.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct PluginEntry {
    pub name: &'static str,
    /// The default weight of its score.
    pub weight: i64,
    /// Creates an instance for a profile.
    pub make: fn() -> Box<dyn Plugin>,
}

/// Creates an entry of a plugin list.
pub const fn entry(name: &'static str, weight: i64, make: fn() -> Box<dyn Plugin>) -> PluginEntry {
    PluginEntry { name, weight, make }
}

/// The extension points of the framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtensionPoint {
    /// Before a Pod enters the queue.
    PreEnqueue,
    /// Orders the queue.
    QueueSort,
    /// Once per equivalence class.
    PreFilter,
    /// Per node.
    Filter,
    /// When no node is feasible.
    PostFilter,
    /// Before nodes are scored.
    PreScore,
    /// Per feasible node.
    Score,
    /// After a node was chosen.
    Reserve,
    /// Before the launch; may delay it.
    Permit,
    /// Immediately before the launch.
    PreBind,
}

impl ExtensionPoint {
    /// All extension points, in order.
    pub const ALL: [ExtensionPoint; 10] = [
        ExtensionPoint::PreEnqueue,
        ExtensionPoint::QueueSort,
        ExtensionPoint::PreFilter,
        ExtensionPoint::Filter,
        ExtensionPoint::PostFilter,
        ExtensionPoint::PreScore,
        ExtensionPoint::Score,
        ExtensionPoint::Reserve,
        ExtensionPoint::Permit,
        ExtensionPoint::PreBind,
    ];

    /// The name in a configuration's `plugins`, and the label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ExtensionPoint::PreEnqueue => "preEnqueue",
            ExtensionPoint::QueueSort => "queueSort",
            ExtensionPoint::PreFilter => "preFilter",
            ExtensionPoint::Filter => "filter",
            ExtensionPoint::PostFilter => "postFilter",
            ExtensionPoint::PreScore => "preScore",
            ExtensionPoint::Score => "score",
            ExtensionPoint::Reserve => "reserve",
            ExtensionPoint::Permit => "permit",
            ExtensionPoint::PreBind => "preBind",
        }
    }

    fn is_implemented_by(self, plugin: &mut dyn Plugin) -> bool {
        match self {
            ExtensionPoint::PreEnqueue => plugin.pre_enqueue().is_some(),
            ExtensionPoint::QueueSort => plugin.queue_sort().is_some(),
            ExtensionPoint::PreFilter => plugin.pre_filter().is_some(),
            ExtensionPoint::Filter => plugin.filter().is_some() || plugin.domain_rule().is_some(),
            ExtensionPoint::PostFilter => plugin.post_filter().is_some(),
            ExtensionPoint::PreScore => plugin.pre_score().is_some(),
            ExtensionPoint::Score => plugin.score().is_some() || plugin.domain_rule().is_some(),
            ExtensionPoint::Reserve => plugin.reserve().is_some(),
            ExtensionPoint::Permit => plugin.permit().is_some(),
            ExtensionPoint::PreBind => plugin.pre_bind().is_some(),
        }
    }
}

/// A set of a profile's plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PluginSet(u64);

impl PluginSet {
    /// Adds the plugin with this index.
    pub fn insert(&mut self, plugin: usize) {
        self.0 |= 1 << plugin;
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The indices.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..PLUGINS_MAX).filter(move |plugin| self.0 >> plugin & 1 == 1)
    }
}

/// A configuration of plugins at one extension point, or at all of them (`multiPoint`).
#[derive(Debug, Clone, Default)]
pub struct PluginChoice {
    /// The extension point; `None` means all that the plugin implements.
    pub point: Option<ExtensionPoint>,
    /// Plugins to append or whose weight to change.
    pub enabled: Vec<(String, Option<i64>)>,
    /// Plugins to remove; `*` means all.
    pub disabled: Vec<String>,
}

/// Why a profile is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ProfileError {
    /// The plugin does not exist.
    UnknownPlugin(String),
    /// The plugin does not implement the extension point.
    NotImplemented { plugin: String, point: ExtensionPoint },
    /// The plugin cannot be disabled.
    Required(&'static str),
    /// A weight is out of range.
    Weight { plugin: String, weight: i64 },
    /// All profiles must have the same single QueueSort plugin.
    QueueSort,
    /// Two profiles have the same scheduler name.
    SameName(String),
    /// There is no profile, or one has no name.
    NoName,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProfileError::UnknownPlugin(name) => {
                let known: Vec<&str> = DEFAULT_PLUGINS.iter().map(|entry| entry.name).collect();
                write!(f, "unknown plugin \"{name}\"; known are {}", known.join(", "))
            }
            ProfileError::NotImplemented { plugin, point } => {
                write!(f, "plugin \"{plugin}\" does not implement {}", point.as_str())
            }
            ProfileError::Required(plugin) => write!(f, "plugin \"{plugin}\" cannot be disabled"),
            ProfileError::Weight { plugin, weight } => {
                write!(f, "weight {weight} of plugin \"{plugin}\" is not between 1 and {WEIGHT_MAX}")
            }
            ProfileError::QueueSort => {
                f.write_str("exactly one queueSort plugin must be enabled, the same in all profiles")
            }
            ProfileError::SameName(name) => write!(f, "two profiles have schedulerName \"{name}\""),
            ProfileError::NoName => f.write_str("there must be a profile, and each needs a schedulerName"),
        }
    }
}

impl std::error::Error for ProfileError {}

/// The plugins of one scheduler name.
#[derive(Debug)]
pub struct Profile {
    name: Box<str>,
    plugins: Vec<Box<dyn Plugin>>,
    weights: Vec<i64>,
    /// Indices into `plugins` by extension point, in order.
    points: [Vec<usize>; ExtensionPoint::ALL.len()],
    /// Indices of the plugins with domain rules.
    domain_rules: Vec<usize>,
}

impl Profile {
    /// Creates a profile with all plugins of `entries`, changed by `choices` in order.
    pub fn new(
        name: &str,
        entries: &[PluginEntry],
        choices: &[PluginChoice],
    ) -> Result<Profile, ProfileError> {
        assert!(entries.len() <= PLUGINS_MAX, "invariant: plugin lists are static and short");
        let mut profile = Profile {
            name: name.into(),
            plugins: entries.iter().map(|entry| (entry.make)()).collect(),
            weights: entries.iter().map(|entry| entry.weight).collect(),
            points: Default::default(),
            domain_rules: Vec::new(),
        };
        for plugin in 0..entries.len() {
            profile.enable_everywhere(plugin);
        }
        choices.iter().try_for_each(|choice| profile.apply(choice))?;
        for name in REQUIRED {
            let on = profile.points[ExtensionPoint::Filter as usize].iter();
            if !on.clone().any(|plugin| profile.plugins[*plugin].name() == name) {
                return Err(ProfileError::Required(name));
            }
        }
        if profile.points[ExtensionPoint::QueueSort as usize].len() != 1 {
            return Err(ProfileError::QueueSort);
        }
        let on = |point: ExtensionPoint, plugin: usize| profile.points[point as usize].contains(&plugin);
        profile.domain_rules = (0..profile.plugins.len())
            .filter(|plugin| profile.plugins[*plugin].domain_rule().is_some())
            .filter(|plugin| on(ExtensionPoint::Filter, *plugin) || on(ExtensionPoint::Score, *plugin))
            .collect();
        Ok(profile)
    }

    fn enable_everywhere(&mut self, plugin: usize) {
        for point in ExtensionPoint::ALL {
            let at = &mut self.points[point as usize];
            if point.is_implemented_by(&mut *self.plugins[plugin]) && !at.contains(&plugin) {
                at.push(plugin);
            }
        }
    }

    fn apply(&mut self, choice: &PluginChoice) -> Result<(), ProfileError> {
        let points = match choice.point {
            Some(point) => vec![point],
            None => ExtensionPoint::ALL.to_vec(),
        };
        for name in &choice.disabled {
            let which = if name == "*" { None } else { Some(self.find(name)?) };
            for point in &points {
                self.points[*point as usize].retain(|plugin| which.is_some_and(|which| which != *plugin));
            }
        }
        for (name, weight) in &choice.enabled {
            let plugin = self.find(name)?;
            match choice.point {
                None => self.enable_everywhere(plugin),
                Some(point) if point.is_implemented_by(&mut *self.plugins[plugin]) => {
                    let at = &mut self.points[point as usize];
                    if !at.contains(&plugin) {
                        at.push(plugin);
                    }
                }
                Some(point) => return Err(ProfileError::NotImplemented { plugin: name.clone(), point }),
            }
            match weight {
                Some(weight) if (1..=WEIGHT_MAX).contains(weight) => self.weights[plugin] = *weight,
                Some(weight) => {
                    return Err(ProfileError::Weight { plugin: name.clone(), weight: *weight });
                }
                None => {}
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, ProfileError> {
        let at = self.plugins.iter().position(|plugin| plugin.name() == name);
        at.ok_or_else(|| ProfileError::UnknownPlugin(name.to_owned()))
    }

    /// The scheduler name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A plugin.
    pub fn plugin(&self, index: usize) -> &dyn Plugin {
        &*self.plugins[index]
    }

    /// A plugin, mutable because it may have state.
    pub fn plugin_mut(&mut self, index: usize) -> &mut dyn Plugin {
        &mut *self.plugins[index]
    }

    /// The plugins at an extension point.
    pub fn at(&self, point: ExtensionPoint) -> &[usize] {
        &self.points[point as usize]
    }

    /// The weight of a plugin's score.
    pub fn weight(&self, plugin: usize) -> i64 {
        self.weights[plugin]
    }

    /// The plugins with domain rules.
    pub fn domain_rules(&self) -> &[usize] {
        &self.domain_rules
    }

    /// The filters in order, with the indices of their plugins.
    pub fn filters(&self) -> impl DoubleEndedIterator<Item = (usize, &dyn Filter)> {
        let plugins = self.at(ExtensionPoint::Filter).iter();
        plugins.filter_map(|plugin| Some((*plugin, self.plugins[*plugin].filter()?)))
    }
}

/// All profiles.
#[derive(Debug)]
pub struct Profiles {
    all: Vec<Profile>,
}

impl Default for Profiles {
    fn default() -> Profiles {
        let profile = Profile::new(crate::scheduler::NAME, DEFAULT_PLUGINS, &[]);
        Profiles { all: vec![profile.expect("invariant: the default plugins make a profile")] }
    }
}

impl Profiles {
    /// Checks rules that concern all profiles together.
    pub fn new(all: Vec<Profile>) -> Result<Profiles, ProfileError> {
        if all.is_empty() || all.iter().any(|profile| profile.name.is_empty()) {
            return Err(ProfileError::NoName);
        }
        for (at, profile) in all.iter().enumerate() {
            if all[..at].iter().any(|other| other.name == profile.name) {
                return Err(ProfileError::SameName(profile.name.to_string()));
            }
            let sort = |profile: &Profile| profile.plugins[profile.at(ExtensionPoint::QueueSort)[0]].name();
            if sort(profile) != sort(&all[0]) {
                return Err(ProfileError::QueueSort);
            }
        }
        Ok(Profiles { all })
    }

    /// The index of a scheduler name's profile.
    pub fn find(&self, scheduler_name: &str) -> Option<usize> {
        self.all.iter().position(|profile| *profile.name == *scheduler_name)
    }

    /// The scheduler names, in the order of the profiles' indices.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(Profile::name)
    }

    /// A profile.
    pub fn get(&self, index: usize) -> &Profile {
        &self.all[index]
    }

    /// A profile, mutable because its plugins may have state.
    pub fn get_mut(&mut self, index: usize) -> &mut Profile {
        &mut self.all[index]
    }

    /// Sorts Pods with the QueueSort plugin.
    pub fn sort(&self, pods: &mut [crate::scheduler::PendingPod]) {
        let profile = &self.all[0];
        let plugin = profile.plugin(profile.at(ExtensionPoint::QueueSort)[0]);
        if let Some(sort) = plugin.queue_sort() {
            pods.sort_by(|a, b| sort.compare(a, b));
        }
    }
}
