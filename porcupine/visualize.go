package porcupine

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"os"
)

// Visualize writes a history and its longest linearizations as an HTML page.
func Visualize(model Model, info LinearizationInfo, output io.Writer) error {
	model.describeDefaults()
	w := bufio.NewWriter(output)
	fmt.Fprintln(w, "<!doctype html><meta charset=utf-8><title>History</title>")
	for i, p := range info.parts {
		fmt.Fprintf(w, "<h2>Partition %d: %s</h2><table>\n", i, p.result)
		for _, o := range p.ops {
			fmt.Fprintf(w, "<tr><td>%d<td>%d<td>%d<td>%s\n", o.ClientId, o.Call, o.Return,
				html.EscapeString(model.DescribeOperation(o.Input, o.Output)))
		}
		fmt.Fprintln(w, "</table>")
	}
	return w.Flush()
}

// VisualizePath is [Visualize] to the file at path, which it creates or overwrites.
func VisualizePath(model Model, info LinearizationInfo, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := Visualize(model, info, f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
