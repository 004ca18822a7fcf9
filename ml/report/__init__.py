"""The whole story of one gate run, as JSON for programs and as one self-contained HTML page for people.

``facts.py`` collects what was measured, ``charts.py`` draws it as SVG, ``page.py`` puts it on a page. Nothing here
measures anew or talks to the registry.
"""
