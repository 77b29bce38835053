// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

// readManifest decodes a file of manifests/monitoring; a member that the type does not have is an
// error.
func readManifest(t testing.TB, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(harness.Root("manifests", "monitoring", file))
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// readRules is what the Prometheus Operator gives to Prometheus.
func readRules(t testing.TB) *monitoringv1.PrometheusRuleSpec {
	t.Helper()
	var rule monitoringv1.PrometheusRule
	readManifest(t, "prometheusrule.yaml", &rule)
	return &rule.Spec
}

// allRules lists the rules of all groups, to be changed in place.
func allRules(spec *monitoringv1.PrometheusRuleSpec) []*monitoringv1.Rule {
	var rules []*monitoringv1.Rule
	for g := range spec.Groups {
		for r := range spec.Groups[g].Rules {
			rules = append(rules, &spec.Groups[g].Rules[r])
		}
	}
	return rules
}

// writeRules writes them as Prometheus reads them.
func writeRules(t testing.TB, spec *monitoringv1.PrometheusRuleSpec, path string) {
	t.Helper()
	text, err := yaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, path, text)
}

// promtool runs it and returns its output.
func promtool(stdin string, args ...string) (string, error) {
	cmd := exec.Command("promtool", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// ruleTests lists the files of tests/monitoring by the name of their alert.
func ruleTests(t testing.TB) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(harness.Root("tests", "monitoring", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{}
	for _, path := range paths {
		tests[strings.TrimSuffix(filepath.Base(path), ".yaml")] = path
	}
	return tests
}

// testRules runs the tests of an alert on rules that may have been changed.
func testRules(t testing.TB, spec *monitoringv1.PrometheusRuleSpec, test string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(test)
	if err != nil {
		t.Fatal(err)
	}
	writeRules(t, spec, filepath.Join(dir, "rules.yaml"))
	harness.WriteFile(t, filepath.Join(dir, "test.yaml"), text)
	return promtool("", "test", "rules", filepath.Join(dir, "test.yaml"))
}

func TestRulesAreSound(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	writeRules(t, readRules(t), path)
	if out, err := promtool("", "check", "rules", "--lint=all", "--lint-fatal", path); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAlerts: each alert fires, does not fire and recovers as its file in tests/monitoring says.
func TestAlerts(t *testing.T) {
	t.Parallel()
	spec, tests := readRules(t), ruleTests(t)
	for _, rule := range allRules(spec) {
		if tests[rule.Alert] == "" {
			t.Errorf("%s has no test", rule.Alert)
		}
	}
	for alert, test := range tests {
		t.Run(alert, func(t *testing.T) {
			if out, err := testRules(t, spec, test); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestTheTestsOfAlertsWouldNotice: a rule that waits a quarter more or less, or whose threshold is
// higher or lower by about a third, fails its own test. So the tests know the boundaries.
func TestTheTestsOfAlertsWouldNotice(t *testing.T) {
	t.Parallel()
	tests := ruleTests(t)
	for i, rule := range allRules(readRules(t)) {
		severity := rule.Labels["severity"]
		for change, edited := range mutants(t, rule) {
			t.Run(fmt.Sprintf("%s/%s/%s", rule.Alert, severity, change), func(t *testing.T) {
				t.Parallel()
				spec := readRules(t)
				*allRules(spec)[i] = edited
				if out, err := testRules(t, spec, tests[rule.Alert]); err == nil {
					t.Errorf("not noticed:\n%s\nfor: %v\n%s", edited.Expr.StrVal, edited.For, out)
				}
			})
		}
	}
}

// mutants are slightly wrong forms of a rule, by what is wrong.
func mutants(t testing.TB, rule *monitoringv1.Rule) map[string]monitoringv1.Rule {
	t.Helper()
	all := map[string]monitoringv1.Rule{}
	old := time.Duration(0)
	if rule.For != nil {
		old = duration(t, string(*rule.For))
	}
	by := max(time.Minute, old/4)
	for change, wait := range map[string]time.Duration{"waits longer": old + by, "waits less": old - by} {
		if wait >= 0 {
			text, edited := monitoringv1.Duration(fmt.Sprintf("%ds", int(wait.Seconds()))), *rule
			edited.For = &text
			all[change] = edited
		}
	}
	for n := range thresholds(t, rule.Expr.StrVal) {
		for change, factor := range map[string]float64{"lower": 0.75, "higher": 1.35} {
			expr, err := parser.ParseExpr(rule.Expr.StrVal)
			if err != nil {
				t.Fatal(err)
			}
			literal := comparisons(expr)[n]
			if literal.Val == 0 { // counts: 0 or one
				if literal.Val = 1.1; change == "lower" {
					literal.Val = -0.1
				}
			} else {
				literal.Val *= factor
			}
			edited := *rule
			edited.Expr = intstr.FromString(expr.String())
			all[fmt.Sprintf("threshold %d %s", n, change)] = edited
		}
	}
	return all
}

func thresholds(t testing.TB, expr string) []*parser.NumberLiteral {
	t.Helper()
	parsed, err := parser.ParseExpr(expr)
	if err != nil {
		t.Fatal(err)
	}
	return comparisons(parsed)
}

// comparisons are the numbers that something is compared with, or the first factor of a product of
// numbers there.
func comparisons(expr parser.Expr) []*parser.NumberLiteral {
	var found []*parser.NumberLiteral
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		binary, ok := node.(*parser.BinaryExpr)
		if !ok || !binary.Op.IsComparisonOperator() {
			return nil
		}
		right := binary.RHS
		if product, ok := right.(*parser.BinaryExpr); ok {
			right = product.LHS
		}
		if literal, ok := right.(*parser.NumberLiteral); ok {
			found = append(found, literal)
		}
		return nil
	})
	return found
}

func duration(t testing.TB, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestAlertsSayWhatToDo: each has what its reader needs, and the runbook the section it names.
func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	runbook, table := sections(t, "runbook.md"), readPage(t, "monitoring.md")
	var named []string
	for _, rule := range allRules(readRules(t)) {
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q", rule.Alert, severity)
		}
		for _, annotation := range []string{"summary", "description"} {
			if !strings.HasSuffix(rule.Annotations[annotation], ".") {
				t.Errorf("%s: the %s is no sentence: %q", rule.Alert, annotation, rule.Annotations[annotation])
			}
		}
		section := strings.ToLower(rule.Alert)
		if got, want := rule.Annotations["runbook"], "docs/runbook.md#"+section; got != want {
			t.Errorf("%s: runbook: want %s, got %s", rule.Alert, want, got)
		}
		if !slices.Contains(runbook, section) {
			t.Errorf("%s has no section in the runbook", rule.Alert)
		}
		if !strings.Contains(table, "\n| "+rule.Alert+" | ") {
			t.Errorf("%s is not in the table of docs/monitoring.md", rule.Alert)
		}
		named = append(named, section)
	}
	for _, section := range runbook {
		if strings.HasPrefix(section, "dbupgrade") && !slices.Contains(named, section) {
			t.Errorf("the runbook's section %s has no alert", section)
		}
	}
}

var heading = regexp.MustCompile(`(?m)^#+ (.+)$`)

// sections are the anchors of a page's headings of one word.
func sections(t testing.TB, page string) []string {
	t.Helper()
	var anchors []string
	for _, match := range heading.FindAllStringSubmatch(readPage(t, page), -1) {
		anchors = append(anchors, strings.ToLower(match[1]))
	}
	return anchors
}

// readPage is a page of docs.
func readPage(t testing.TB, page string) string {
	t.Helper()
	text, err := os.ReadFile(harness.Root("docs", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
