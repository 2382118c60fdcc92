use super::file::File;
use super::profiles::settle;
use gantry_daemon::config_file::parse;
use gantry_scheduler_core::Profile;

fn read(body: &str) -> Result<Vec<Profile>, String> {
    let text =
        format!("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n{body}");
    let file: File = parse(&text, "KubeSchedulerConfiguration", &["kubescheduler.config.k8s.io/v1"])
        .map_err(|e| e.to_string())?;
    settle(file).map(|s| s.profiles).map_err(|e| e.to_string())
}

fn names(profile: &Profile, at: &[usize]) -> String {
    at.iter().map(|i| profile.plugins[*i].name()).collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_said_means_upstreams_default() {
    let profile = &read("").unwrap()[0];
    assert_eq!(&*profile.scheduler, "default-scheduler");
    assert_eq!(
        names(profile, &profile.filter),
        "NodeUnschedulable NodeName TaintToleration NodeAffinity NodePorts NodeResourcesFit VolumeRestrictions \
         NodeVolumeLimits VolumeBinding VolumeZone PodTopologySpread InterPodAffinity"
    );
    let scores: Vec<String> =
        profile.score.iter().map(|(i, w)| format!("{}={w}", profile.plugins[*i].name())).collect();
    assert_eq!(
        scores.join(" "),
        "TaintToleration=3 NodeAffinity=2 NodeResourcesFit=1 VolumeBinding=1 PodTopologySpread=2 \
         InterPodAffinity=2 NodeResourcesBalancedAllocation=1 ImageLocality=1"
    );
    assert_eq!(names(profile, &profile.post_filter), "DynamicResources DefaultPreemption");
}

#[test]
fn profiles_enable_disable_order_and_weigh() {
    let body = "
percentageOfNodesToScore: 30
profiles:
- schedulerName: one
  percentageOfNodesToScore: 70
  plugins:
    score:
      disabled: [{name: '*'}]
      enabled: [{name: NodeResourcesFit, weight: 5}]
    postFilter:
      disabled: [{name: DefaultPreemption}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      scoringStrategy: {type: MostAllocated}
- schedulerName: two
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}]
      enabled: [{name: TaintToleration, weight: 9}]
    filter:
      enabled: [{name: NodePorts}, {name: NodeName}]
";
    let profiles = read(body).unwrap();
    let (one, two) = (&profiles[0], &profiles[1]);
    assert_eq!((one.percentage_of_nodes_to_score, two.percentage_of_nodes_to_score), (70, 30));
    let score = |p: &Profile| {
        p.score.iter().map(|(i, w)| format!("{}={w}", p.plugins[*i].name())).collect::<Vec<_>>()
    };
    assert_eq!(score(one), ["NodeResourcesFit=5"]);
    assert_eq!(names(one, &one.post_filter), "DynamicResources");
    assert_eq!(names(two, &two.post_filter), "DynamicResources DefaultPreemption");
    assert!(score(two).contains(&"TaintToleration=9".to_owned()));
    assert!(!score(two).iter().any(|s| s.starts_with("ImageLocality")));
    assert!(
        names(two, &two.filter).starts_with("NodeName NodePorts NodeUnschedulable "),
        "{}",
        names(two, &two.filter)
    );
}

#[test]
fn bad_configurations_are_refused_in_upstreams_words() {
    let check = |body: &str, expected: &str| {
        let got = read(body).err().unwrap_or_default();
        assert_eq!(got, expected, "{body}");
    };
    let args = |name: &str, args: &str| {
        format!("profiles:\n- schedulerName: s\n  pluginConfig:\n  - name: {name}\n    args: {args}\n")
    };
    check("parallelism: 0\n", "parallelism: Invalid value: 0: should be an integer value greater than zero");
    check(
        "percentageOfNodesToScore: 101\n",
        "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
    );
    check(
        "podInitialBackoffSeconds: 0\n",
        "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
    );
    check(
        "podInitialBackoffSeconds: 20\n",
        "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
    );
    check("podInitialBackofSeconds: 1\n", "strict decoding error: unknown field \"podInitialBackofSeconds\"");
    check(
        "profiles:\n- schedulerName: a\n- schedulerName: a\n",
        "profiles[1].schedulerName: Duplicate value: \"profiles[0].schedulerName\"",
    );
    check("profiles:\n- plugins: {}\n- schedulerName: a\n", "profiles[0].schedulerName: Required value");
    check(
        &args("InterPodAffinity", "{hardPodAffinityWeight: 101}"),
        "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
    );
    check(
        &args("NodeResourcesFit", "{scoringStrategy: {type: Best}}"),
        "profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: \"Best\": supported values: \
         \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
    );
    check(
        &args(
            "PodTopologySpread",
            "{defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]}",
        ),
        "profiles[0].pluginConfig[0].args.defaultingType: Invalid value: \"System\": when .defaultConstraints \
         are not empty",
    );
    check(
        &args("VolumeBinding", "{bindTimeoutSeconds: -1}"),
        "profiles[0].pluginConfig[0].args.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, \
         should not be a negative value",
    );
    check(
        "extenders:\n- {urlPrefix: 'http://x', prioritizeVerb: p}\n",
        "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
    );
    check(
        "profiles:\n- schedulerName: s\n  plugins: {filter: {enabled: [{name: Nope}]}}\n",
        "initializing profiles: creating profile for scheduler name s: Nope does not exist",
    );
    check(
        "profiles:\n- schedulerName: s\n  plugins: {filter: {enabled: [{name: ImageLocality}]}}\n",
        "initializing profiles: creating profile for scheduler name s: plugin \"ImageLocality\" does not extend \
         Filter plugin",
    );
    check(
        "profiles:\n- schedulerName: s\n  plugins: {bind: {disabled: [{name: '*'}]}}\n",
        "initializing profiles: creating profile for scheduler name s: at least one bind plugin is needed",
    );
}
