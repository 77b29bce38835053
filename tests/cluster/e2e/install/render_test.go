// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

// TestMadeFilesAreUpToDate: install.yaml, the chart's CRD and versions, the table of values.
func TestMadeFilesAreUpToDate(t *testing.T) {
	if out, err := exec.Command(harness.Root("script", "manifests"), "--check").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestHelmLint(t *testing.T) {
	helm(t, "lint", "--strict", chart(), "-f", write(t, "values.yaml", everything))
}

// everything: each value differs from its default, and each template says something.
const everything = `
image: {repository: registry.example.com/dbupgrade, digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", pullPolicy: Always, pullSecrets: [registry, other]}
namespaces: [shop, stock]
selector: team in (shop, stock)
logLevel: debug
clusterDomain: example.internal
crds: {install: true, keep: false}
rbac: {create: true, aggregate: false}
certificates: {mode: cert-manager, secretName: my-cert, issuerRef: {name: ours, kind: ClusterIssuer}, duration: 720h, renewBefore: 240h}
reconciler: &process
  replicas: 3
  extraArgs: [--log-format=text]
  resources: {requests: {cpu: 1, memory: 1Gi, ephemeral-storage: 1Mi}}
  nodeSelector: {disk: fast}
  tolerations: [{key: dedicated, operator: Exists}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: Exists}]}]}}}
  topologySpreadConstraints: [{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app.kubernetes.io/name: dbupgrade}}}]
  podLabels: {team: platform}
  podAnnotations: {note: "yes"}
webhook: *process
priorityClass: {create: true, name: mine, value: 5}
networkPolicy: {enabled: true, apiServerPorts: [16443], webhookFrom: [{ipBlock: {cidr: 10.0.0.0/8}}], metricsFrom: [{namespaceSelector: {}}], healthFrom: [{ipBlock: {cidr: 10.1.0.0/16}}]}
monitoring: {enabled: true, labels: {release: prometheus}, dashboard: true}
global: {anything: of a parent chart}
`

// valueSets are rendered and judged by the schemas of Kubernetes.
var valueSets = map[string]string{
	"the defaults":           "",
	"everything":             everything,
	"cert-manager's own CA":  "certificates: {mode: cert-manager}",
	"a Secret and its CA":    "certificates: {mode: secret, caBundle: Zm9v}",
	"a Secret":               "certificates: {mode: secret, secretName: other}",
	"self-managed elsewhere": "certificates: {secretName: other}\nclusterDomain: example.internal",
	"one namespace":          "namespaces: [shop]",
	"no webhook":             "webhook: {enabled: false}\ncrds: {install: false}",
	"two of each":            "reconciler: {replicas: 2}",
	"one of each":            "webhook: {replicas: 1}",
	"nothing cluster-wide":   "namespaces: [shop]\nwebhook: {enabled: false}\ncrds: {install: false}\nrbac: {aggregate: false}\npriorityClass: {create: false, name: \"\"}",
	"no rights":              "rbac: {create: false}",
	"a class of one's own":   "priorityClass: {create: false, name: mine}",
	"network policies":       "networkPolicy: {enabled: true}",
	"network policies alone": "networkPolicy: {enabled: true}\nwebhook: {enabled: false}",
	"monitoring":             "monitoring: {enabled: true, dashboard: true}",
}

// TestSchemas judges all that the chart and the overlays yield, strictly: unknown members are errors.
func TestSchemas(t *testing.T) {
	dir := schemas(t)
	judge := func(t *testing.T, manifests string) {
		t.Helper()
		out, err := run(t, manifests, "kubeconform", "-strict", "-summary",
			"-schema-location", dir+"/{{.ResourceKind}}{{.KindSuffix}}.json", "-")
		if err != nil || !strings.Contains(out, "Invalid: 0, Errors: 0, Skipped: 0") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	for name, values := range valueSets {
		t.Run(name, func(t *testing.T) {
			out, err := template(t, values)
			if err != nil {
				t.Fatal(err)
			}
			judge(t, out)
		})
	}
	for _, dir := range overlays(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) { judge(t, kustomize(t, dir)) })
	}
	t.Run("a misspelt member is found", func(t *testing.T) {
		text := strings.Replace(kustomize(t, harness.Root("manifests", "base")), "readinessProbe:", "readynessProbe:", 1)
		out, err := run(t, text, "kubeconform", "-strict", "-schema-location", dir+"/{{.ResourceKind}}{{.KindSuffix}}.json", "-")
		if err == nil || !strings.Contains(out, "readynessProbe") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestNothingClusterWide: an administrator of one namespace can install what is left.
func TestNothingClusterWide(t *testing.T) {
	out, err := template(t, valueSets["nothing cluster-wide"])
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects(t, out) {
		if o.GetNamespace() == "" {
			t.Errorf("%s belongs to no namespace", key(o))
		}
	}
}

// TestWrongValues: the schema names what is wrong.
func TestWrongValues(t *testing.T) {
	for values, want := range map[string]string{
		"image: {tags: v1}":                             "tags",
		"replicas: 2":                                   "replicas",
		"image: {digest: v1}":                           "/image/digest",
		"image: {repository: \"a b\"}":                  "/image/repository",
		"reconciler: {replicas: two}":                   "/reconciler/replicas",
		"webhook: {replicas: 0}":                        "/webhook/replicas",
		"certificates: {mode: none}":                    "/certificates/mode",
		"certificates: {caBundle: Zm9v}":                "/certificates/caBundle",
		"certificates: {mode: secret, caBundle: \"-\"}": "/certificates/caBundle",
		"certificates: {duration: a year}":              "/certificates/duration",
		"certificates: {issuerRef: {names: x}}":         "names",
		"namespaces: shop":                              "/namespaces",
		"namespaces: [Shop]":                            "/namespaces/0",
		"namespaces: [shop, shop]":                      "/namespaces",
		"logLevel: verbose":                             "/logLevel",
		"reconciler: {extraArgs: [workers=8]}":          "/reconciler/extraArgs/0",
		"reconciler: {resources: {limit: {cpu: 1}}}":    "limit",
		"webhook: {resources: {limits: {cpu: much}}}":   "/webhook/resources/limits/cpu",
		"networkPolicy: {apiServerPorts: [0]}":          "/networkPolicy/apiServerPorts/0",
		"networkPolicy: {apiServerPorts: []}":           "/networkPolicy/apiServerPorts",
		"priorityClass: {value: 2000000000}":            "/priorityClass/value",
		"monitoring: true":                              "/monitoring",
	} {
		_, err := template(t, values)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error about %s, got %v", values, want, err)
		}
	}
}

// TestEachValueCounts: no value is without effect, and the schema knows each.
func TestEachValueCounts(t *testing.T) {
	var defaults, changed map[string]any
	if err := yaml.Unmarshal([]byte(helm(t, "show", "values", chart())), &defaults); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(everything), &changed); err != nil {
		t.Fatal(err)
	}
	// What everything leaves as it is.
	others := map[string]any{"image.tag": "other", "certificates.caBundle": "Zm9v", "crds.install": false, "rbac.create": false,
		"webhook.enabled": false, "priorityClass.create": false}
	// What has to be set beside a value, in its group, for it to count.
	enabled, certManager := map[string]any{"enabled": true}, map[string]any{"mode": "cert-manager"}
	beside := map[string]map[string]any{
		"certificates.caBundle": {"mode": "secret"}, "certificates.issuerRef": certManager,
		"certificates.duration": certManager, "certificates.renewBefore": certManager,
		"networkPolicy.apiServerPorts": enabled, "networkPolicy.webhookFrom": enabled, "networkPolicy.metricsFrom": enabled,
		"networkPolicy.healthFrom": enabled, "monitoring.labels": enabled, "monitoring.dashboard": enabled,
	}
	for _, path := range leaves(defaults) {
		group, name, nested := strings.Cut(path, ".")
		value, ok := others[path]
		if !ok && nested {
			value, ok = changed[group].(map[string]any)[name]
		} else if !ok {
			value, ok = changed[group]
		}
		if !ok {
			t.Errorf("%s: the test does not change it", path)
			continue
		}
		before, after := map[string]any{}, map[string]any{group: value}
		if nested {
			members := map[string]any{name: value}
			maps.Copy(members, beside[path])
			after[group] = members
			if beside[path] != nil {
				before[group] = beside[path]
			}
		}
		if render(t, before) == render(t, after) {
			t.Errorf("%s: a change has no effect", path)
		}
	}
}

// leaves are the paths of the values: "namespaces", "image.tag".
func leaves(values map[string]any) (paths []string) {
	for group, value := range values {
		members, ok := value.(map[string]any)
		if !ok {
			paths = append(paths, group)
		}
		for name := range members {
			paths = append(paths, group+"."+name)
		}
	}
	slices.Sort(paths)
	return paths
}

func render(t *testing.T, values map[string]any) string {
	t.Helper()
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	out, err := template(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestChartAndManifestsAgree compares object by object; Helm's own labels and the keep policy are
// all that the chart may add, and the Namespace is all that it leaves to others.
func TestChartAndManifestsAgree(t *testing.T) {
	for name, values := range map[string]string{
		"base":              "",
		"cert-manager":      "certificates: {mode: cert-manager}",
		"namespaced":        "certificates: {mode: cert-manager}\nnamespaces: [shop]",
		"high-availability": "reconciler: {replicas: 2}",
		"network-policy":    "networkPolicy: {enabled: true}",
		"monitoring":        "monitoring: {enabled: true, dashboard: true}",
	} {
		t.Run(name, func(t *testing.T) {
			dir := harness.Root("manifests", "overlays", name)
			if name == "base" {
				dir = harness.Root("manifests", "base")
			}
			out, err := template(t, "image: {tag: dev}\n"+values)
			if err != nil {
				t.Fatal(err)
			}
			want, got := byKey(t, kustomize(t, dir)), byKey(t, out)
			delete(want, "Namespace /"+system)
			for k, text := range want {
				if got[k] != text {
					t.Errorf("%s: from the manifests to the chart:\n%s", k, diff(t, text, got[k]))
				}
				delete(got, k)
			}
			for k := range got {
				t.Errorf("%s: only the chart has it", k)
			}
		})
	}
	t.Run("every overlay is compared", func(t *testing.T) {
		if n := len(overlays(t)); n != 6 {
			t.Errorf("there are %d", n)
		}
	})
}

// TestCertificateNames: cert-manager is asked for the names that a self-managed certificate has
// (certs/keeper.c), in whichever namespace.
func TestCertificateNames(t *testing.T) {
	source, err := os.ReadFile(harness.Root("certs", "keeper.c"))
	if err != nil {
		t.Fatal(err)
	}
	const service, namespace = "dbupgrade-webhook-service", "databases"
	var want []string
	for _, format := range regexp.MustCompile(`&k->names\[\d\], "([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		parts := []any{service, namespace, "cluster.local"}
		want = append(want, fmt.Sprintf(format[1], parts[:strings.Count(format[1], "%s")]...))
	}
	component := harness.Root("manifests", "components", "cert-manager")
	for _, o := range objects(t, layered(t, "namespace: "+namespace, "components: ["+component+"]")) {
		if o.GetKind() == "Certificate" && o.GetName() == "dbupgrade-webhook" {
			got, _, err := unstructured.NestedStringSlice(o.Object, "spec", "dnsNames")
			if err != nil || len(got) != 4 || !slices.Equal(got, want) {
				t.Errorf("want %q, got %q, %v", want, got, err)
			}
			return
		}
	}
	t.Error("there is no Certificate")
}

// TestNetworkPolicies: everybody may ask the webhook, one namespace may read the metrics, which the
// patch that the component's comment has changes, and nobody else is let in.
func TestNetworkPolicies(t *testing.T) {
	component := harness.Root("manifests", "components", "network-policy")
	text, err := os.ReadFile(filepath.Join(component, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var patch []string
	for _, line := range regexp.MustCompile(`(?m)^#   (.*)$`).FindAllStringSubmatch(string(text), -1) {
		patch = append(patch, line[1])
	}
	closed := "components: [" + component + "]"
	for namespace, layers := range map[string][]string{
		"monitoring": {closed}, "observability": {closed, strings.Join(patch, "\n")}} {
		t.Run(namespace, func(t *testing.T) {
			got := map[string][]string{}
			for _, o := range objects(t, layered(t, layers...)) {
				if o.GetKind() == "NetworkPolicy" {
					got[o.GetName()] = ingress(t, o)
				}
			}
			metrics := "metrics from " + namespace
			if !slices.Equal(got["dbupgrade-webhook"], []string{metrics, "webhook from everybody"}) ||
				!slices.Equal(got["dbupgrade-reconciler"], []string{metrics}) || len(got) != 2 {
				t.Error(got)
			}
		})
	}
}

// ingress tells the rules of a policy: "PORT from NAMESPACE".
func ingress(t *testing.T, policy *unstructured.Unstructured) (rules []string) {
	t.Helper()
	var spec networkingv1.NetworkPolicySpec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(policy.Object["spec"].(map[string]any), &spec); err != nil {
		t.Fatal(err)
	}
	for _, rule := range spec.Ingress {
		from := "everybody"
		for _, peer := range rule.From {
			from = peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
		}
		for _, port := range rule.Ports {
			rules = append(rules, port.Port.String()+" from "+from)
		}
	}
	return rules
}

// layered renders the base below kustomizations that stand one upon another; physical paths, since
// kustomize follows links before it goes up.
func layered(t *testing.T, layers ...string) string {
	t.Helper()
	below, err := filepath.EvalSymlinks(harness.Root("manifests", "base"))
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		relative, err := filepath.Rel(dir, below)
		if err != nil {
			t.Fatal(err)
		}
		up, err := filepath.Rel(dir, "/")
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(layer, "[/", "["+up+"/") + "\nresources: [" + relative + "]\n"
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		below = dir
	}
	return kustomize(t, below)
}

func byKey(t *testing.T, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, o := range objects(t, text) {
		normalise(o)
		out, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		if all[key(o)] != "" {
			t.Errorf("%s is there twice", key(o))
		}
		all[key(o)] = string(out)
	}
	return all
}

func diff(t *testing.T, a, b string) string {
	t.Helper()
	out, _ := exec.Command("diff", "-u", write(t, "a", a), write(t, "b", b)).Output()
	lines := strings.SplitAfter(string(out), "\n")
	return strings.Join(lines[:min(len(lines), 40)], "")
}

func normalise(o *unstructured.Unstructured) {
	labels := o.GetLabels()
	for _, label := range []string{"app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "helm.sh/chart"} {
		delete(labels, label)
	}
	o.SetLabels(labels)
	annotations := o.GetAnnotations()
	delete(annotations, "helm.sh/resource-policy")
	if len(annotations) == 0 {
		annotations = nil // no empty map
	}
	o.SetAnnotations(annotations)
}

// TestScore: good practice by kube-score, and each exception with its reason.
func TestScore(t *testing.T) {
	exceptions := map[string]string{
		"container-image-pull-policy":                   "IfNotPresent: tags of releases do not move, and Always makes every start depend on the registry",
		"container-resources":                           "no CPU limit: throttling would delay every change to a DBUpgrade",
		"container-ephemeral-storage-request-and-limit": "the root is read-only and there is no emptyDir: only logs, which the kubelet rotates",
		"deployment-has-host-podantiaffinity":           "topology spread constraints do that, and leave a choice when there is one node",
		// Of all but overlays/high-availability.
		"deployment-replicas": "one reconciler suffices: what it misses while it is moved, it does a moment later",
		"deployment-strategy": "Recreate, for a single reconciler: the next would only wait for the Lease",
		// Of all but overlays/network-policy.
		"pod-networkpolicy": "the ports of the API server differ by provider: a component, not part of the base",
	}
	score := func(t *testing.T, dir string, ignored ...string) []string {
		t.Helper()
		args := []string{"score", "--output-format=ci", "--enable-optional-test=container-seccomp-profile",
			"--enable-optional-test=container-ports-check"}
		for _, name := range ignored {
			args = append(args, "--ignore-test="+name)
		}
		out, _ := run(t, kustomize(t, dir), "kube-score", append(args, "-")...)
		if !strings.Contains(out, "[OK] dbupgrade-webhook/") {
			t.Error(out)
		}
		return slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool {
			return !strings.HasPrefix(line, "[WARNING]") && !strings.HasPrefix(line, "[CRITICAL]")
		})
	}
	for _, dir := range overlays(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			ignored := maps.Clone(exceptions)
			switch filepath.Base(dir) {
			case "high-availability":
				delete(ignored, "deployment-replicas")
				delete(ignored, "deployment-strategy")
			case "network-policy":
				delete(ignored, "pod-networkpolicy")
			}
			for _, finding := range score(t, dir, slices.Collect(maps.Keys(ignored))...) {
				t.Error(finding)
			}
		})
	}
	t.Run("every exception is one", func(t *testing.T) {
		for name := range exceptions {
			others := maps.Clone(exceptions)
			delete(others, name)
			if len(score(t, harness.Root("manifests", "base"), slices.Collect(maps.Keys(others))...)) == 0 {
				t.Errorf("%s finds nothing", name)
			}
		}
	})
}
