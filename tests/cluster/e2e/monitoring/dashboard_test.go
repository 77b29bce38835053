// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"dbupgrade/tests/cluster/e2e/harness"
)

// dashboard is what these tests read of Grafana's dashboard model.
type dashboard struct {
	SchemaVersion int
	Title, UID    string
	Panels        []panel
	Templating    struct{ List []struct{ Name, Type string } }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ UID string }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []struct{ Color string } }
		}
	}
	Targets []struct {
		Expr, RefID string
		Datasource  struct{ UID string }
	}
}

func readDashboard(t testing.TB) *dashboard {
	t.Helper()
	var d dashboard
	text, err := os.ReadFile(harness.Root("manifests", "monitoring", "dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

// inGrafana replaces the dashboard's variables, as Grafana does.
var inGrafana = strings.NewReplacer("$namespace", ".*", "$__rate_interval", "1m", "$__range", "15m")

// TestDashboard: whatever it shows, it says what that is, in which unit, and what is too much.
func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.SchemaVersion < 42 || d.Title == "" || d.UID == "" {
		t.Errorf("schemaVersion %d, title %q, uid %q", d.SchemaVersion, d.Title, d.UID)
	}
	if !slices.ContainsFunc(d.Templating.List, func(v struct{ Name, Type string }) bool {
		return v.Name == "datasource" && v.Type == "datasource"
	}) {
		t.Error("there is no variable for the data source")
	}
	ids := map[int]string{}
	for i, p := range d.Panels {
		if ids[p.ID] != "" {
			t.Errorf("%s has the number of %s", p.Title, ids[p.ID])
		}
		ids[p.ID] = p.Title
		for _, other := range d.Panels[:i] {
			if overlap(p, other) {
				t.Errorf("%s lies over %s", p.Title, other.Title)
			}
		}
		if p.Type != "row" {
			checkPanel(t, p)
		}
	}
}

func overlap(a, b panel) bool {
	return a.GridPos.X < b.GridPos.X+b.GridPos.W && b.GridPos.X < a.GridPos.X+a.GridPos.W &&
		a.GridPos.Y < b.GridPos.Y+b.GridPos.H && b.GridPos.Y < a.GridPos.Y+a.GridPos.H
}

func checkPanel(t *testing.T, p panel) {
	t.Helper()
	if !strings.HasSuffix(p.Description, ".") {
		t.Errorf("%s: the description is no sentence: %q", p.Title, p.Description)
	}
	if p.FieldConfig.Defaults.Unit == "" || len(p.FieldConfig.Defaults.Thresholds.Steps) == 0 {
		t.Errorf("%s has no unit or no thresholds", p.Title)
	}
	if p.Title == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
		t.Errorf("panel %d: title %q, %d queries, at %+v", p.ID, p.Title, len(p.Targets), p.GridPos)
	}
	for _, target := range p.Targets {
		if p.Datasource.UID != "${datasource}" || target.Datasource.UID != "${datasource}" {
			t.Errorf("%s does not take its data from the variable's source", p.Title)
		}
		if rest := inGrafana.Replace(target.Expr); strings.Contains(rest, "$") {
			t.Errorf("%s uses a variable that this test does not know: %s", p.Title, rest)
		}
	}
}
