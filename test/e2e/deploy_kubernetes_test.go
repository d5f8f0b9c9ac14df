package e2e_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/jotgate/jotgate/internal/keyfile"
)

// A manifest is what the example's files use of Kubernetes' objects; a field that is not here is a typing error.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Type       string
	Data       map[string]string
	StringData map[string]string `yaml:"stringData"`
	Spec       struct {
		Replicas int
		Selector yaml.Node
		Ports    []struct {
			Name       string
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
	}
}

type podSpec struct {
	AutomountServiceAccountToken  *bool           `yaml:"automountServiceAccountToken"`
	TerminationGracePeriodSeconds int             `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               securityContext `yaml:"securityContext"`
	Containers                    []container
	Volumes                       []struct {
		Name      string
		ConfigMap struct{ Name string } `yaml:"configMap"`
		Secret    struct {
			SecretName  string `yaml:"secretName"`
			DefaultMode int    `yaml:"defaultMode"`
		}
	}
}

type container struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	ReadinessProbe  probe `yaml:"readinessProbe"`
	LivenessProbe   probe `yaml:"livenessProbe"`
	Resources       struct{ Requests, Limits map[string]string }
	SecurityContext securityContext `yaml:"securityContext"`
	VolumeMounts    []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet       struct{ Path, Port string } `yaml:"httpGet"`
	PeriodSeconds int                         `yaml:"periodSeconds"`
}

type securityContext struct {
	RunAsNonRoot             bool                    `yaml:"runAsNonRoot"`
	RunAsUser                int                     `yaml:"runAsUser"`
	RunAsGroup               int                     `yaml:"runAsGroup"`
	FSGroup                  int                     `yaml:"fsGroup"`
	AllowPrivilegeEscalation *bool                   `yaml:"allowPrivilegeEscalation"`
	ReadOnlyRootFilesystem   bool                    `yaml:"readOnlyRootFilesystem"`
	Capabilities             struct{ Drop []string } `yaml:"capabilities"`
	SeccompProfile           struct{ Type string }   `yaml:"seccompProfile"`
}

const kubernetes = "examples/kubernetes/"

func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	files, err := filepath.Glob(kubernetes + "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]manifest{}
	for _, file := range files {
		d := yaml.NewDecoder(bytes.NewReader([]byte(readFile(t, file))))
		d.KnownFields(true)
		for {
			var m manifest
			err := d.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if _, twice := all[m.Kind]; twice || m.APIVersion == "" {
				t.Errorf("%s: a second %s, or one without its apiVersion", file, m.Kind)
			}
			all[m.Kind] = m
		}
	}
	return all
}

func TestTheKubernetesExampleHoldsTogether(t *testing.T) {
	t.Parallel()
	all := manifests(t)
	if len(all) != 4 {
		t.Fatalf("there are %d objects, want a ConfigMap, a Secret, a Deployment and a Service", len(all))
	}
	pod := all["Deployment"].Spec.Template.Spec
	var gate, app container
	for _, c := range pod.Containers {
		switch c.Name {
		case "gate":
			gate = c
		case "app":
			app = c
		}
	}
	mounts := mounted(t, pod, gate)
	text := all["ConfigMap"].Data["config.yaml"]
	if mounts["ConfigMap "+all["ConfigMap"].Metadata.Name]+"/config.yaml" != gate.Args[len(gate.Args)-1] {
		t.Errorf("the gate reads %s, and has %v", gate.Args, mounts)
	}
	secrets := mounts["Secret "+all["Secret"].Metadata.Name]

	// With what the example's Secret says the gate does not start; with real secrets it checks.
	placeholders := laidDown(t, text, secrets, all["Secret"].StringData)
	refused := start(t, placeholders, nil, "check", "--config", "config.yaml")
	if code := refused.exit(t); code != 3 || strings.Count(refused.stderr.String(), "\n") != 2 {
		t.Errorf("the placeholders: exit code %d, want 3 and a fault for each\n%s", code, refused.stderr)
	}
	genuine := map[string]string{
		"main.pem": run(t, t.TempDir(), nil, "keygen"),
		"web":      run(t, t.TempDir(), nil, "keygen", "--secret"),
	}
	if len(genuine) != len(all["Secret"].StringData) {
		t.Errorf("the Secret has %d files", len(all["Secret"].StringData))
	}
	folder := laidDown(t, text, secrets, genuine)
	if out := run(t, folder, nil, "check", "--config", "config.yaml"); !strings.Contains(out, "2 tests passed") {
		t.Errorf("check says %s", out)
	}
	settings, err := keyfile.Load(filepath.Join(folder, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	ports := map[string]int{}
	for _, p := range gate.Ports {
		ports[p.Name] = p.ContainerPort
	}
	service := all["Service"].Spec.Ports[0]
	for what, pair := range map[string][2]int{
		"the Service":         {ports[service.TargetPort], portOf(t, settings.Listeners[0].Address)},
		"readiness":           {ports[gate.ReadinessProbe.HTTPGet.Port], portOf(t, settings.Admin.HealthListen)},
		"liveness":            {ports[gate.LivenessProbe.HTTPGet.Port], portOf(t, settings.Admin.HealthListen)},
		"the issuer's URL":    {service.Port, portOf(t, strings.TrimPrefix(settings.Issuer.URL, "http://"))},
		"the app's container": {len(app.Ports), 0}, // nothing but the gate leads to it
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: port %d, want %d", what, pair[0], pair[1])
		}
	}
	if gate.ReadinessProbe.HTTPGet.Path != "/readyz" || gate.LivenessProbe.HTTPGet.Path != "/healthz" {
		t.Errorf("the probes ask %+v and %+v", gate.ReadinessProbe, gate.LivenessProbe)
	}
	if host, _, _ := net.SplitHostPort(settings.Routes[0].Upstream.Servers[0].Host); !net.ParseIP(host).IsLoopback() {
		t.Errorf("the app is at %s, outside the pod", host)
	}
	if grace := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second; grace <= settings.Drain.Delay+
		settings.Drain.Timeout {
		t.Errorf("the pod is killed after %v, while it drains", grace)
	}
	unprivileged(t, pod, gate)
}

// mounted are the folders of the gate's container, by what is in them.
func mounted(t *testing.T, pod podSpec, gate container) map[string]string {
	t.Helper()
	paths := map[string]string{}
	for _, m := range gate.VolumeMounts {
		paths[m.Name] = m.MountPath
		if !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
	}
	all := map[string]string{}
	for _, v := range pod.Volumes {
		switch {
		case v.ConfigMap.Name != "":
			all["ConfigMap "+v.ConfigMap.Name] = paths[v.Name]
		case v.Secret.SecretName != "":
			all["Secret "+v.Secret.SecretName] = paths[v.Name]
			if v.Secret.DefaultMode != 0o400 {
				t.Errorf("the secrets have mode %o", v.Secret.DefaultMode)
			}
		}
	}
	return all
}

// laidDown is a folder with the config and the secrets where the container has them.
func laidDown(t *testing.T, text, mount string, secrets map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	if mount == "" || !strings.Contains(text, mount+"/") {
		t.Fatalf("the config names no file below %q", mount)
	}
	writeFile(t, filepath.Join(folder, "config.yaml"), []byte(strings.ReplaceAll(text, mount+"/", folder+"/")))
	for name, secret := range secrets {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func unprivileged(t *testing.T, pod podSpec, gate container) {
	t.Helper()
	user := strconv.Itoa(gate.SecurityContext.RunAsUser) + ":" + strconv.Itoa(gate.SecurityContext.RunAsGroup)
	if !strings.Contains(readFile(t, "Dockerfile"), "\nUSER "+user+"\n") {
		t.Errorf("the gate runs as %s, which is not the image's user", user)
	}
	if pod.SecurityContext.FSGroup != gate.SecurityContext.RunAsGroup {
		t.Errorf("the secrets are for group %d, the gate is of %d", pod.SecurityContext.FSGroup,
			gate.SecurityContext.RunAsGroup)
	}
	if !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != "RuntimeDefault" ||
		!gate.SecurityContext.ReadOnlyRootFilesystem ||
		pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("the pod may more than it needs: %+v", pod.SecurityContext)
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
			strings.Join(s.Capabilities.Drop, ",") != "ALL" {
			t.Errorf("%s has privileges: %+v", c.Name, s)
		}
	}
}

// What the ConfigMap says serves, and its probes are answered.
func TestTheKubernetesExampleServes(t *testing.T) {
	t.Parallel()
	all := manifests(t)
	listen, health := freeAddress(t), freeAddress(t)
	text := replaceAll(t, "configmap.yaml", all["ConfigMap"].Data["config.yaml"],
		change{`":8080"`, strconv.Quote(listen)}, change{`":9091"`, strconv.Quote(health)},
		change{"127.0.0.1:9090", freeAddress(t)}, change{"delay: 5s", "delay: 0s"})
	folder := laidDown(t, text, "/run/secrets/jotgate", map[string]string{
		"main.pem": run(t, t.TempDir(), nil, "keygen"), "web": run(t, t.TempDir(), nil, "keygen", "--secret"),
	})
	gate := start(t, folder, nil, "serve", "--config", "config.yaml")
	gate.until(t, gate.stderr, `"msg":"listening"`)
	for path, want := range map[string]int{"/readyz": 200, "/healthz": 200, "/metrics": 404} {
		if status, _, body := ask(t, "GET", "http://"+health+path, "", ""); status != want {
			t.Errorf("%s on the health listener: %d %s, want %d", path, status, body, want)
		}
	}
	if status, _, body := ask(t, "GET", "http://"+listen+"/t/acme/orders", "", ""); status != 401 {
		t.Errorf("without a token: %d %s, want 401", status, body)
	}
}
