// SPDX-License-Identifier: Apache-2.0

// Package figures is what measurements leave behind: rows of script/bench's table on standard
// output, and the data that its plot is drawn from. Sizes come from the environment.
package figures

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Row is one of the table: a figure, what to compare it with (an aim of the project, or a yardstick
// that was measured beside it; may be empty), and how it was measured.
func Row(what, aim, how, figure string, args ...any) {
	fmt.Printf("| %s | %s | %s | %s |\n", what, fmt.Sprintf(figure, args...), aim, how)
}

// Data writes columns of numbers into NAME.csv of the directory $BENCH_DATA, if that is set.
func Data(t *testing.T, name string, header []string, rows [][]float64) {
	t.Helper()
	directory := os.Getenv("BENCH_DATA")
	if directory == "" {
		return
	}
	file, err := os.Create(filepath.Join(directory, name+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := [][]string{header}
	for _, row := range rows {
		var line []string
		for _, value := range row {
			line = append(line, strconv.FormatFloat(value, 'g', -1, 64))
		}
		lines = append(lines, line)
	}
	if err := csv.NewWriter(file).WriteAll(lines); err != nil {
		t.Fatal(err)
	}
}

// Size is the number in a variable of the environment.
func Size(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q is no size", variable, text)
	}
	return n
}
