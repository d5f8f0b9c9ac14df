package charts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	strict "sigs.k8s.io/yaml"
)

var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "jotgate-charts-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		binary = filepath.Join(folder, "jotgate")
		build := exec.Command("go", "build", "-o", binary, ".")
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// objects are what was rendered, by "Kind/name", each decoded strictly.
type objects map[string]any

// decode reads documents of YAML; a field that the API's type does not have fails the test.
func decode(t *testing.T, text []byte) objects {
	t.Helper()
	all := objects{}
	for r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(document), []byte("---")))) == 0 {
			continue
		}
		var head struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
		}
		if err := strict.Unmarshal(document, &head); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		object, known := map[string]any{
			"v1 ConfigMap": &core.ConfigMap{}, "v1 Service": &core.Service{}, "v1 ServiceAccount": &core.ServiceAccount{},
			"apps/v1 Deployment": &apps.Deployment{}, "policy/v1 PodDisruptionBudget": &policy.PodDisruptionBudget{},
			"autoscaling/v2 HorizontalPodAutoscaler":  &autoscaling.HorizontalPodAutoscaler{},
			"networking.k8s.io/v1 NetworkPolicy":      &networking.NetworkPolicy{},
			"monitoring.coreos.com/v1 ServiceMonitor": &monitoring.ServiceMonitor{},
			"monitoring.coreos.com/v1 PodMonitor":     &monitoring.PodMonitor{},
		}[head.APIVersion+" "+head.Kind]
		if !known {
			t.Fatalf("an object of an unknown kind: %+v", head)
		}
		if err := strict.UnmarshalStrict(document, object); err != nil {
			t.Fatalf("%s %s: %v\n%s", head.Kind, head.Metadata.Name, err, document)
		}
		if _, twice := all[head.Kind+"/"+head.Metadata.Name]; twice {
			t.Errorf("%s %s is there twice", head.Kind, head.Metadata.Name)
		}
		all[head.Kind+"/"+head.Metadata.Name] = object
	}
}

func get[T any](t *testing.T, all objects, name string) *T {
	t.Helper()
	object, ok := all[name].(*T)
	if !ok {
		var there []string
		for n := range all {
			there = append(there, n)
		}
		slices.Sort(there)
		t.Fatalf("there is no %s, only %v", name, there)
	}
	return object
}

// load reads a chart; one that depends on ours gets it as `helm dependency build` would put it.
func load(t *testing.T, folder string) *chart.Chart {
	t.Helper()
	c, err := loader.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Metadata.Dependencies) > 0 {
		c.AddDependency(load(t, "../../deploy/helm/jotgate"))
	}
	return c
}

// template renders a chart as `helm template shop` does, with the values' schema.
func template(c *chart.Chart, values string) ([]byte, error) {
	v, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependenciesWithMerge(c, v); err != nil {
		return nil, err
	}
	options := chartutil.ReleaseOptions{Name: "shop", Namespace: "default", Revision: 1, IsInstall: true}
	render, err := chartutil.ToRenderValues(c, v, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{}.Render(c, render)
	if err != nil {
		return nil, err
	}
	var all bytes.Buffer
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, ".yaml") {
			all.WriteString("---\n" + files[name] + "\n")
		}
	}
	return all.Bytes(), nil
}

const jotgate = "../../deploy/helm/jotgate"

func rendered(t *testing.T, folder, values string) objects {
	t.Helper()
	text, err := template(load(t, folder), values)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, text)
}

const everything = `
replicas: 3
redis: {enabled: true, url: "rediss://redis:6379/0", passwordKey: redis-password}
podDisruptionBudget: {enabled: true, minAvailable: 50%}
autoscaling: {enabled: true}
networkPolicy:
  enabled: true
  from: [{podSelector: {matchLabels: {app: ingress}}}]
  monitoringFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
  to: [{podSelector: {matchLabels: {app: app}}}]
serviceMonitor: {enabled: true, labels: {release: prometheus}}
podMonitor: {enabled: true}
imagePullSecrets: [{name: registry}]
env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: edge, operator: Exists}]
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: z}}]}}
priorityClassName: high
podLabels: {team: shop}
podAnnotations: {note: a}
service: {type: LoadBalancer, annotations: {a: b}}
serviceAccount: {annotations: {a: b}}
`

func TestTheChartsEdgeHoldsTogether(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]string{"the defaults": "{}", "everything": everything} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := rendered(t, jotgate, values)
			d := get[apps.Deployment](t, all, "Deployment/shop-jotgate")
			pod := d.Spec.Template.Spec
			config := get[core.ConfigMap](t, all, "ConfigMap/shop-jotgate").Data["config.yaml"]
			holdsTogether(t, pod, pod.Containers[0], config)
			service := get[core.Service](t, all, "Service/shop-jotgate")
			selects(t, service.Spec.Selector, d.Spec.Template.Labels)
			selects(t, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
			if account := get[core.ServiceAccount](t, all, "ServiceAccount/"+
				pod.ServiceAccountName); *account.AutomountServiceAccountToken {
				t.Error("the account's token is mounted")
			}
			if name == "the defaults" {
				if len(all) != 4 {
					t.Errorf("the defaults make %d objects", len(all))
				}
				return
			}
			if d.Spec.Replicas != nil {
				t.Error("the replicas are set although they are scaled")
			}
			budget := get[policy.PodDisruptionBudget](t, all, "PodDisruptionBudget/shop-jotgate")
			selects(t, budget.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
			if budget.Spec.MinAvailable.StrVal != "50%" {
				t.Errorf("the budget is %v", budget.Spec.MinAvailable)
			}
			scaler := get[autoscaling.HorizontalPodAutoscaler](t, all, "HorizontalPodAutoscaler/shop-jotgate")
			if scaler.Spec.ScaleTargetRef.Name != d.Name || scaler.Spec.ScaleTargetRef.Kind != "Deployment" {
				t.Errorf("it scales %+v", scaler.Spec.ScaleTargetRef)
			}
			rules := get[networking.NetworkPolicy](t, all, "NetworkPolicy/shop-jotgate").Spec
			if len(rules.PolicyTypes) != 2 || len(rules.Ingress) != 2 || len(rules.Egress) != 2 {
				t.Errorf("the network's rules are %+v", rules)
			}
			monitor := get[monitoring.ServiceMonitor](t, all, "ServiceMonitor/shop-jotgate")
			selects(t, monitor.Spec.Selector.MatchLabels, service.Labels)
			if monitor.Labels["release"] != "prometheus" ||
				!slices.ContainsFunc(service.Spec.Ports, func(p core.ServicePort) bool {
					return p.Name == monitor.Spec.Endpoints[0].Port
				}) {
				t.Errorf("the monitor asks %+v", monitor.Spec)
			}
			selects(t, get[monitoring.PodMonitor](t, all, "PodMonitor/shop-jotgate").Spec.Selector.MatchLabels,
				d.Spec.Template.Labels)
			if !strings.Contains(config, "store: redis") || !strings.Contains(config, "url: rediss://redis:6379/0") {
				t.Errorf("the config does not share its state:\n%s", config)
			}
		})
	}
}

// In another chart's pod the gate starts before the app and ends after it.
func TestTheChartsSidecarHoldsTogether(t *testing.T) {
	t.Parallel()
	for _, native := range []bool{true, false} {
		t.Run(fmt.Sprintf("native %t", native), func(t *testing.T) {
			t.Parallel()
			all := rendered(t, "testdata/shop", fmt.Sprintf("jotgate: {sidecar: {native: %t, appDrainSeconds: 40}}", native))
			if len(all) != 2 {
				t.Errorf("%d objects, want the app's Deployment and the gate's ConfigMap", len(all))
			}
			pod := get[apps.Deployment](t, all, "Deployment/shop").Spec.Template.Spec
			config := get[core.ConfigMap](t, all, "ConfigMap/shop-jotgate").Data["config.yaml"]
			if !strings.Contains(config, "url: http://shop:8080") {
				t.Errorf("the config is not the parent's:\n%s", config)
			}
			gates := pod.InitContainers
			if !native {
				gates = pod.Containers[1:]
			} else if len(gates) != 1 || gates[0].RestartPolicy == nil ||
				*gates[0].RestartPolicy != core.ContainerRestartPolicyAlways {
				t.Fatalf("the init containers are %+v", gates)
			}
			if len(gates) != 1 || gates[0].Name != "gate" || gates[0].Image != "ghcr.io/jotgate/jotgate:0.1.0" {
				t.Fatalf("the gate is %+v", gates)
			}
			if app := pod.Containers[0]; app.Lifecycle == nil || app.Lifecycle.PreStop.Sleep.Seconds != 40 {
				t.Errorf("the app ends at once: %+v", app)
			}
			holdsTogether(t, pod, gates[0], config)
		})
	}
}

func TestUnfitValuesAreRefused(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"replica: 3":                           "replica",
		"replicas: 3":                          "needs a shared store",
		"autoscaling: {enabled: true}":         "needs a shared store",
		"config: {version: 2}":                 "version",
		"image: {digest: latest}":              "digest",
		"service: {type: Loadbalancer}":        "type",
		"redis: {url: redis.example.com:6379}": "url",
	} {
		if text, err := template(load(t, jotgate), values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q\n%s", values, err, want, text)
		}
	}
}

func TestTheOverlaysHoldTogether(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"base": 3, "overlays/edge": 3, "overlays/replicas": 4, "overlays/sidecar": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
				Run(filesys.MakeFsOnDisk(), filepath.Join("../../deploy/kustomize", name))
			if err != nil {
				t.Fatal(err)
			}
			text, err := resources.AsYaml()
			if err != nil {
				t.Fatal(err)
			}
			all := decode(t, text)
			if len(all) != want {
				t.Errorf("%d objects, want %d", len(all), want)
			}
			d := get[apps.Deployment](t, all, "Deployment/jotgate")
			pod := d.Spec.Template.Spec
			gate := pod.Containers[0]
			if name == "overlays/sidecar" {
				gate = pod.InitContainers[0]
				if *gate.RestartPolicy != core.ContainerRestartPolicyAlways || pod.Containers[0].Name != "app" ||
					pod.Containers[0].Lifecycle.PreStop.Sleep.Seconds < 5 {
					t.Errorf("the pod is %+v", pod)
				}
			}
			config := get[core.ConfigMap](t, all, "ConfigMap/jotgate").Data["config.yaml"]
			holdsTogether(t, pod, gate, config)
			selects(t, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
			service := get[core.Service](t, all, "Service/jotgate")
			selects(t, service.Spec.Selector, d.Spec.Template.Labels)
			for _, p := range service.Spec.Ports {
				if !slices.ContainsFunc(gate.Ports, func(c core.ContainerPort) bool { return c.Name == p.TargetPort.StrVal }) {
					t.Errorf("the service leads to the port %s, which the gate does not have", p.TargetPort.StrVal)
				}
			}
			if name == "overlays/edge" && (len(service.Spec.Ports) != 2 || service.Spec.Ports[0].Port != 443) {
				t.Errorf("the edge's ports are %+v", service.Spec.Ports)
			}
			if name == "overlays/replicas" {
				selects(t, get[policy.PodDisruptionBudget](t, all, "PodDisruptionBudget/jotgate").Spec.Selector.MatchLabels,
					d.Spec.Template.Labels)
				if *d.Spec.Replicas != 3 {
					t.Errorf("%d replicas", *d.Spec.Replicas)
				}
			}
		})
	}
}

// selects fails where a selector is empty, or does not match.
func selects(t *testing.T, selector, labels map[string]string) {
	t.Helper()
	if len(selector) == 0 {
		t.Error("a selector is empty")
	}
	for key, value := range selector {
		if labels[key] != value {
			t.Errorf("the selector wants %s: %s, the labels are %v", key, value, labels)
		}
	}
}

// holdsTogether compares the gate's container with the config that it reads, which must check.
func holdsTogether(t *testing.T, pod core.PodSpec, gate core.Container, config string) {
	t.Helper()
	mounts := map[string]string{}
	for _, m := range gate.VolumeMounts {
		if !m.ReadOnly || m.SubPath != "" {
			t.Errorf("the mount %+v can be written, or does not follow a change", m)
		}
		mounts[m.Name] = m.MountPath
	}
	folders := []string{}
	for _, v := range pod.Volumes {
		path, mounted := mounts[v.Name]
		if !mounted {
			t.Errorf("the gate does not mount %s", v.Name)
		}
		switch {
		case v.ConfigMap != nil:
			if want := path + "/config.yaml"; gate.Args[len(gate.Args)-1] != want {
				t.Errorf("the gate reads %v, the config is %s", gate.Args, want)
			}
		case v.Secret != nil:
			folders = append(folders, path)
			if *v.Secret.DefaultMode&0o007 != 0 {
				t.Errorf("everyone may read %s", v.Name)
			}
		}
		delete(mounts, v.Name)
	}
	if len(mounts) > 0 {
		t.Errorf("there are no volumes %v", mounts)
	}
	checks(t, config, folders)

	ports := map[string]int32{}
	for _, p := range gate.Ports {
		ports[p.Name] = p.ContainerPort
		if !strings.Contains(config, fmt.Sprintf(":%d", p.ContainerPort)) {
			t.Errorf("the config listens on no port %d", p.ContainerPort)
		}
	}
	for path, probe := range map[string]*core.Probe{"/readyz": gate.ReadinessProbe, "/healthz": gate.LivenessProbe} {
		if probe == nil || probe.HTTPGet.Path != path || ports[probe.HTTPGet.Port.StrVal] != 9091 {
			t.Errorf("the probe %s is %+v", path, probe)
		}
	}
	drain := 0
	for _, m := range regexp.MustCompile(`(?:delay|timeout): (\d+)s`).FindAllStringSubmatch(config, -1) {
		seconds, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		drain += seconds
	}
	if drain != 35 || *pod.TerminationGracePeriodSeconds <= int64(drain) {
		t.Errorf("the pod is killed after %d s, the gate drains for %d", *pod.TerminationGracePeriodSeconds, drain)
	}
	s := gate.SecurityContext
	if !*s.RunAsNonRoot || *s.RunAsUser != 65532 || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem ||
		len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || *pod.SecurityContext.FSGroup != 65532 ||
		*pod.AutomountServiceAccountToken {
		t.Errorf("the gate may more than it needs: %+v", s)
	}
}

// checks has `jotgate check` judge a config, with secrets where the container has them.
func checks(t *testing.T, config string, folders []string) {
	t.Helper()
	folder := t.TempDir()
	for i, mount := range folders {
		place := filepath.Join(folder, strconv.Itoa(i))
		if err := os.Mkdir(place, 0o700); err != nil {
			t.Fatal(err)
		}
		config = strings.ReplaceAll(config, mount+"/", place+"/")
		for name, args := range map[string][]string{
			"main.pem": {"keygen"}, "web": {"keygen", "--secret"},
			"code": {"keygen", "--secret"}, "redis-password": {"keygen", "--secret"},
		} {
			secret, err := exec.Command(binary, args...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(place, name), secret, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		certificate(t, filepath.Join(place, "tls.crt"), filepath.Join(place, "tls.key"))
	}
	file := filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "check", "--config", file).CombinedOutput(); err != nil {
		t.Errorf("jotgate check: %v\n%s\n%s", err, out, config)
	}
}

// certificate writes the self-signed one that `jotgate init` makes.
func certificate(t *testing.T, cert, key string) {
	t.Helper()
	folder := t.TempDir()
	if out, err := exec.Command(binary, "init", folder, "--profile", "edge").CombinedOutput(); err != nil {
		t.Fatalf("jotgate init: %v\n%s", err, out)
	}
	for from, to := range map[string]string{"tls/cert.pem": cert, "tls/key.pem": key} {
		if err := os.Rename(filepath.Join(folder, from), to); err != nil {
			t.Fatal(err)
		}
	}
}
