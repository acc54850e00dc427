//go:build differential

package differential

var expected = map[string]string{}

var leftOut = []struct{ what, why string }{}
