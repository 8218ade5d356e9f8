// Reads the configuration of Grafana Alloy with Alloy's own parser, and compares it with its own format: from this
// folder, go run . ../../deploy/alloy/config.alloy
package main

import (
	"bytes"
	"log"
	"os"

	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/printer"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	file, err := parser.ParseFile(os.Args[1], text)
	if err != nil {
		log.Fatal(err)
	}
	var formatted bytes.Buffer
	if err := printer.Fprint(&formatted, file); err != nil {
		log.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(formatted.Bytes()), bytes.TrimSpace(text)) {
		log.Fatalf("not in the usual format, which is:\n%s", formatted.Bytes())
	}
}
