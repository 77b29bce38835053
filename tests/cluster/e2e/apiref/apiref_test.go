// SPDX-License-Identifier: Apache-2.0

package apiref

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dbupgrade/tests/cluster/e2e/harness"
)

// TestFields keeps docs/api.md the same as the CRD.
func TestFields(t *testing.T) {
	for _, member := range []string{"spec", "status"} {
		fields, err := Fields(member)
		if err != nil {
			t.Fatal(err)
		}
		harness.Document(t, harness.Root("docs", "api.md"), "fields of "+member, fields)
	}
}

// TestFlags keeps docs/flags.md the same as what --help prints.
func TestFlags(t *testing.T) {
	for program, variable := range map[string]string{
		"dbupgrade-reconciler": "DBUPGRADE_RECONCILER", "dbupgrade-webhook": "DBUPGRADE_WEBHOOK"} {
		help, err := exec.Command(harness.Binary(t, variable), "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		flags, err := Flags(string(help))
		if err != nil {
			t.Fatal(err)
		}
		harness.Document(t, harness.Root("docs", "flags.md"), "flags of "+program, flags)
	}
	t.Run("what is not understood is no table", func(t *testing.T) {
		for _, help := range []string{"", "x [flags]\n\nA:\n  --a\n", "x [flags]\n\nA:\n  --a\n  --b\n        B.\n",
			"x [flags]\n\nA:\n  --a\n        A.\n        More.\n"} {
			if table, err := Flags(help); err == nil {
				t.Errorf("%q: %q", help, table)
			}
		}
	})
}

// source is the text of C files.
func source(t *testing.T, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range patterns {
		paths, err := filepath.Glob(harness.Root(pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %v", pattern, paths, err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(content)
		}
	}
	return all.String()
}

// rows are the cells of the table below a heading of docs/api.md, without their backquotes.
func rows(t *testing.T, heading string) [][]string {
	t.Helper()
	content, err := os.ReadFile(harness.Root("docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(content), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var table [][]string
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.ReplaceAll(strings.TrimSpace(cell), "`", ""))
		}
		table = append(table, cells)
	}
	if len(table) == 0 {
		t.Fatalf("docs/api.md has no table of %s", heading)
	}
	return table
}

func column(table [][]string, i int) []string {
	var cells []string
	for _, row := range table {
		cells = append(cells, row[i])
	}
	slices.Sort(cells)
	return cells
}

// Words of the files below that look like reasons and are none: what they compare with, not what
// they say.
var noReasons = strings.Fields("True False ContainerCreating PodInitializing SchedulingGated ErrImagePull")

// The names of states in metrics, which docs/monitoring.md has.
var states = regexp.MustCompile(`(?s)\*pass_state_name\(.*?\n}`)

// TestReasons finds every reason that the reconciler can write by itself in the reference, and no
// other.
func TestReasons(t *testing.T) {
	words := map[string]bool{}
	text := states.ReplaceAllString(source(t, "reconciler/status.c", "reconciler/explain.c", "reconciler/pass.c"), "")
	for _, found := range regexp.MustCompile(`"([A-Z][A-Za-z]+)"`).FindAllStringSubmatch(text, -1) {
		words[found[1]] = true
	}
	conditions := column(rows(t, "Conditions"), 0)
	for _, word := range append(conditions, noReasons...) {
		if !words[word] {
			t.Errorf("%s is not in the source", word)
		}
		delete(words, word)
	}
	documented := column(rows(t, "Reasons"), 0)
	for word := range words {
		if !slices.Contains(documented, word) {
			t.Errorf("docs/api.md does not know the reason %s", word)
		}
	}
	for _, word := range documented {
		if !words[word] {
			t.Errorf("nobody writes the reason %s", word)
		}
	}
}

var event = regexp.MustCompile(`post\(p, &\(struct event\)\{\s*(\.warning = true,\s*)?(?:\.repeats = true,\s*)?` +
	`\.reason = "(\w+)",\s*\.action = "(\w+)"`)

// TestEvents compares the events that the reconciler posts with the reference.
func TestEvents(t *testing.T) {
	var posted []string
	text := source(t, "reconciler/*.c")
	for _, call := range event.FindAllStringSubmatch(text, -1) {
		kind := "Normal"
		if call[1] != "" {
			kind = "Warning"
		}
		posted = append(posted, call[2]+" "+call[3]+" "+kind)
	}
	if calls := strings.Count(text, "post(p, "); len(posted) != calls {
		t.Errorf("%d events are posted, and %d understood", calls, len(posted))
	}
	var documented []string
	for _, row := range rows(t, "Events") {
		documented = append(documented, strings.Join(row[:3], " "))
	}
	slices.Sort(posted)
	slices.Sort(documented)
	if !slices.Equal(posted, documented) {
		t.Errorf("posted: %v\ndocumented: %v", posted, documented)
	}
}

// TestAnnotationsAndLabels compares those that the operator reads or writes with the reference.
func TestAnnotationsAndLabels(t *testing.T) {
	names := map[string]bool{}
	for _, found := range regexp.MustCompile(`(DBUPGRADE_GROUP )?"([a-z-]+[.][a-z.]+)?(/[a-z-]+)"`).FindAllStringSubmatch(
		source(t, "common/api/names.h", "common/api/dbupgrade.h", "reconciler/job.c"), -1) {
		switch {
		case found[1] != "":
			names["dbupgrade.subbug.learning"+found[3]] = true
		case found[2] != "":
			names[found[2]+found[3]] = true
		}
	}
	documented := column(rows(t, "Annotations and labels"), 0)
	for _, name := range documented {
		if !names[name] {
			t.Errorf("the source has no %s", name)
		}
		delete(names, name)
	}
	for name := range names {
		t.Errorf("docs/api.md does not know %s", name)
	}
}
