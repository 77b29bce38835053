// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Binary is the path of a program that was built before the tests.
func Binary(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s is not set: script/test-api builds the program and sets it", variable)
	}
	return path
}

// Process is a program of the project that runs outside of the cluster.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	log  *lockedBuffer
}

// lockedBuffer takes what a process prints while a test may already read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// StartProcess starts one; the test's end kills it. Its log is shown when the test has failed.
func StartProcess(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(path, args...), done: make(chan struct{}), log: &lockedBuffer{}}
	p.cmd.Stderr = p.log
	// The test may be killed: its processes must not go on by themselves.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("process %d:\n%s", p.Pid(), indent(p.Log()))
		}
	})
	return p
}

// Log is what it has printed so far.
func (p *Process) Log() string { return p.log.String() }

// Pid is its process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Running says whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Kill ends it at once.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Signal sends it a signal.
func (p *Process) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// Wait waits for its end and returns the exit code, -1 for a signal.
func (p *Process) Wait(t testing.TB, timeout time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		t.Fatalf("it has not ended within %v", timeout)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Status is how it has ended, after Wait.
func (p *Process) Status() syscall.WaitStatus { return p.cmd.ProcessState.Sys().(syscall.WaitStatus) }

// Stop ends it as the kubelet does, and fails the test unless it ends well.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	if code := p.Wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// Complaints are the lines of the log that tell of warnings and errors.
func (p *Process) Complaints() []string {
	var lines []string
	for line := range strings.Lines(p.Log()) {
		if !strings.Contains(line, `"level":"debug"`) && !strings.Contains(line, `"level":"info"`) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// Memory is a line of /proc/PID/smaps_rollup in KiB, such as "Rss" or "Private_Dirty".
func Memory(t testing.TB, pid int, what string) int {
	t.Helper()
	return procField(t, fmt.Sprintf("/proc/%d/smaps_rollup", pid), what)
}

func procField(t testing.TB, path, what string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			var kib int
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatalf("no %s in %s", what, path)
	return 0
}

// PeakMemory is the most that has been resident of it at a time, in KiB.
func (p *Process) PeakMemory(t testing.TB) int {
	t.Helper()
	return procField(t, fmt.Sprintf("/proc/%d/status", p.Pid()), "VmHWM")
}

// Metric sums the series of a process whose metrics are on a port of the loopback: those whose line
// begins with a name and, after "{", as many labels as are given. It is an error when there are none.
func Metric(port int, series string) (float64, error) {
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, series)
		if !ok || !strings.ContainsAny(rest[:1], "{ ,}") {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndex(line, " "):]), 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s", series)
	}
	return sum, nil
}

// CPU is the processor time that it has used.
func (p *Process) CPU(t testing.TB) time.Duration {
	t.Helper()
	return CPU(t, p.Pid())
}

// CPU is the processor time that a process has used.
func CPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	// The clock that clock_getcpuclockid(3) names: /proc counts in hundredths of a second.
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Nano())
}
