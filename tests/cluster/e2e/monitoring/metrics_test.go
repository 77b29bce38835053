// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// output is what a process exports.
type output struct {
	process  string
	text     string
	families map[string]*dto.MetricFamily
}

func scrape(t testing.TB, process, url string) output {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got, want := response.Header.Get("Content-Type"), "text/plain; version=0.0.4"; !strings.HasPrefix(got, want) {
		t.Errorf("%s: content type %q, want %q", process, got, want)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, process, string(text))
}

func parse(t testing.TB, process, text string) output {
	t.Helper()
	metrics := expfmt.NewTextParser(model.LegacyValidation)
	families, err := metrics.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", process, err)
	}
	return output{process, text, families}
}

// samples lists the label sets of what Prometheus stores under each name.
func samples(outputs []output) map[string][]labels.Labels {
	all := map[string][]labels.Labels{}
	for _, o := range outputs {
		for name, family := range o.families {
			for _, m := range family.Metric {
				own := map[string]string{}
				for _, pair := range m.Label {
					own[pair.GetName()] = pair.GetValue()
				}
				if m.Histogram == nil {
					all[name] = append(all[name], labels.FromMap(own))
					continue
				}
				all[name+"_sum"] = append(all[name+"_sum"], labels.FromMap(own))
				all[name+"_count"] = append(all[name+"_count"], labels.FromMap(own))
				own["le"] = "+Inf"
				all[name+"_bucket"] = append(all[name+"_bucket"], labels.FromMap(own))
			}
		}
	}
	return all
}

// Labels that a target has, not its metrics; and metrics that Prometheus itself makes.
var (
	targetLabels = []string{"cluster", "namespace", "pod", "job", "instance"}
	made         = map[string][]labels.Labels{
		"up":     {labels.EmptyLabels()},
		"ALERTS": {labels.FromStrings("alertname", "DBUpgradeNoLeader", "alertstate", "firing", "severity", "critical")},
	}
)

// query is an expression and where it stands.
type query struct{ place, expr string }

// queries are those of all alerts and panels.
func queries(t testing.TB) []query {
	t.Helper()
	var all []query
	for _, rule := range allRules(readRules(t)) {
		all = append(all, query{"alert " + rule.Alert, rule.Expr.StrVal})
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			all = append(all, query{"panel " + p.Title, inGrafana.Replace(target.Expr)})
		}
	}
	return all
}

// wantKnown checks that a query asks for metrics that are exported, with labels that they have and
// label values that occur.
func wantKnown(t *testing.T, q query, exported map[string][]labels.Labels) {
	t.Helper()
	expr, err := parser.ParseExpr(q.expr)
	if err != nil {
		t.Errorf("%s: %v", q.place, err)
		return
	}
	known := slices.Clone(targetLabels)
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			known = append(known, wantSelected(t, q, node, exported)...)
		case *parser.Call:
			if node.Func.Name == "label_replace" {
				known = append(known, node.Args[1].(*parser.StringLiteral).Val)
			}
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		var by []string
		switch node := node.(type) {
		case *parser.AggregateExpr:
			by = node.Grouping
		case *parser.BinaryExpr:
			if node.VectorMatching != nil {
				by = node.VectorMatching.MatchingLabels
			}
		}
		for _, label := range by {
			if !slices.Contains(known, label) {
				t.Errorf("%s: none of its metrics has the label %s", q.place, label)
			}
		}
		return nil
	})
}

// wantSelected checks one selector, and returns the labels of what it selects.
func wantSelected(t *testing.T, q query, selector *parser.VectorSelector, exported map[string][]labels.Labels) []string {
	t.Helper()
	series := exported[selector.Name]
	if series == nil {
		series = made[selector.Name]
	}
	if series == nil {
		t.Errorf("%s: nothing exports %s", q.place, selector.Name)
		return nil
	}
	var names []string
	for _, s := range series {
		s.Range(func(l labels.Label) { names = append(names, l.Name) })
	}
	matching := func(s labels.Labels) bool {
		for _, m := range selector.LabelMatchers {
			// Codes are made when they come; that is why their values are not asked for.
			if m.Name == labels.MetricName || m.Name == "code" || slices.Contains(targetLabels, m.Name) {
				continue
			}
			if !m.Matches(s.Get(m.Name)) {
				return false
			}
		}
		return true
	}
	for _, m := range selector.LabelMatchers {
		if m.Name != labels.MetricName && !slices.Contains(targetLabels, m.Name) && !slices.Contains(names, m.Name) {
			t.Errorf("%s: %s has no label %s", q.place, selector.Name, m.Name)
		}
	}
	if !slices.ContainsFunc(series, matching) {
		t.Errorf("%s: no series fits %s; there are: %v", q.place, selector, series)
	}
	return names
}

// described is a row of the table of metrics.
type described struct{ kind, labels, process string }

var tableRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\w+) \\| ([^|]*) \\| (\\w+) \\| [^|]+ \\|$")

// documented reads the table in docs/monitoring.md.
func documented(t testing.TB) map[string]described {
	t.Helper()
	rows := map[string]described{}
	for _, match := range tableRow.FindAllStringSubmatch(readPage(t, "monitoring.md"), -1) {
		rows[match[1]] = described{match[2], strings.ReplaceAll(match[3], "`", ""), match[4]}
	}
	return rows
}

var typeLine = regexp.MustCompile(`(?m)^# TYPE ([a-z_]+) ([a-z]+)$`)

// unseen stands for the labels of a metric that is declared and has no series so far.
const unseen = "?"

// describe makes the same of what is exported.
func describe(outputs []output) map[string]described {
	rows := map[string]described{}
	for _, o := range outputs {
		for _, match := range typeLine.FindAllStringSubmatch(o.text, -1) {
			name, row := match[1], described{match[2], unseen, o.process}
			if family := o.families[name]; family != nil && len(family.Metric) > 0 {
				row.labels = labelNames(family)
			}
			if old, ok := rows[name]; ok && old.process != o.process {
				row.process = "both"
			}
			rows[name] = row
		}
	}
	return rows
}

func labelNames(family *dto.MetricFamily) string {
	names := map[string]bool{}
	for _, m := range family.Metric {
		for _, pair := range m.Label {
			names[pair.GetName()] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

func wantTheTableToBeTrue(t *testing.T, outputs []output) {
	t.Helper()
	want, got := describe(outputs), documented(t)
	for name, row := range want {
		if row.labels == unseen {
			row.labels = got[name].labels
		}
		if got[name] != row {
			t.Errorf("docs/monitoring.md on %s: want %+v, got %+v", name, row, got[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("docs/monitoring.md describes %s, which nothing exports", name)
		}
	}
	if t.Failed() {
		for _, name := range slices.Sorted(maps.Keys(want)) {
			row := want[name]
			t.Log(fmt.Sprintf("| `%s` | %s | %s | %s | ", name, row.kind, row.labels, row.process))
		}
	}
}
