package metrics

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// Each calls emit for every number in the form of mntr, in the order of
// declaration: the name without zk_, and the number as text. That is valid JSON
// but for NaN.
//
// ZooKeeper's PrometheusMetricsProvider shows there what it shows Prometheus
// (PrometheusMetricsProvider.dump); see UsePrometheusForm.
func (s *Set) Each(emit func(name, value string)) {
	form := s.prometheusForm.Load()
	for _, m := range s.current() {
		switch {
		case form:
			m.value.prometheus(m.name, func(v sample) { emit(v.name(), JavaDouble(v.value)) })
		case !m.prometheusOnly:
			m.value.mntr(m.name, emit)
		}
	}
}

// UsePrometheusForm has Each emit the samples of the page for Prometheus.
func (s *Set) UsePrometheusForm() { s.prometheusForm.Store(true) }

// name is the sample's name with its labels.
func (v sample) name() string {
	if v.labels == "" {
		return v.family + v.suffix
	}
	return v.family + v.suffix + "{" + v.labels + "}"
}

// WritePrometheus writes the Set in Prometheus' text format, version 0.0.4.
func (s *Set) WritePrometheus(w io.Writer) error {
	var b bytes.Buffer
	for _, m := range s.current() {
		last := ""
		m.value.prometheus(m.name, func(v sample) {
			if v.family != last {
				fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", v.family, m.help, v.family, m.value.kind())
				last = v.family
			}
			fmt.Fprintf(&b, "%s %s\n", v.name(), JavaDouble(v.value))
		})
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// Handler serves the page for Prometheus, whatever the path.
func (s *Set) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = s.WritePrometheus(w) // the scraper hung up
	})
}

// current runs the hook and leaves out what does not exist in the role it tells.
func (s *Set) current() []metric {
	role := Alone
	if hook := s.collect.Load(); hook != nil {
		role = (*hook)()
	}
	out := make([]metric, 0, len(s.table))
	for _, m := range s.table {
		if m.on <= role {
			out = append(out, m)
		}
	}
	return out
}
