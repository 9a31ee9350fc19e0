/**
 * Prints the dashboard "Storage API: Runbooks" as JSON: the pages of docs/runbooks, because the repository has no address
 * that an alert could lead to. `npm run dashboard` keeps it in dashboards/storage-api-runbooks.json, which Grafana loads.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as sdk from '@grafana/grafana-foundation-sdk/dashboard'
import * as text from '@grafana/grafana-foundation-sdk/text'

const UID = 'storage-api-runbooks'
const DIRECTORY = join(import.meta.dirname, '../../docs/runbooks')
const HEIGHT = 20

/** The names of the pages, which are those of the alerts. README, the overview, comes first. */
export const RUNBOOKS = readdirSync(DIRECTORY)
  .map((file) => file.replace(/\.md$/, ''))
  .sort()

/** Where Grafana shows a page alone. */
export const runbookUrl = (name: string) => `/d/${UID}?viewPanel=panel-${RUNBOOKS.indexOf(name) + 1}`

const title = (name: string) => (name === 'README' ? 'Runbooks' : name)

/** A link of a panel, or of a dashboard. The SDK's builder hides the latter in a menu. */
export const link = (title: string, url: string) => ({
  build: (): sdk.DashboardLink => ({
    ...{ title, url, type: sdk.DashboardLinkType.Link, icon: 'doc', tooltip: '', tags: [] },
    ...{ asDropdown: false, targetBlank: false, includeVars: false, keepTime: false },
  }),
})
export const runbookLink = (name: string) => link(title(name), runbookUrl(name))

/** Links to other pages lead to their panels; those to the rest of the documentation become the path of the file. */
const markdown = (name: string) =>
  readFileSync(join(DIRECTORY, `${name}.md`), 'utf8')
    .replace(/^# .*\n+/, '')
    .replace(/\]\((\w+)\.md\)/g, (_, page) => `](${runbookUrl(page)})`)
    .replace(/\[[^\]]*\]\(\.\.\/([^)#]*)[^)]*\)/g, '`docs/$1`')

if (import.meta.main) {
  const dashboard = new sdk.DashboardBuilder('Storage API: Runbooks')
    .uid(UID)
    .description('What to do when an alert fires')
    .tags(['storage-api'])
    .readonly()
    .links([link('Storage API', '/d/storage-api')])
  for (const [i, name] of RUNBOOKS.entries()) {
    const panel = new text.PanelBuilder()
      .title(title(name))
      .id(i + 1)
      .mode(text.TextMode.Markdown)
    dashboard.withPanel(panel.content(markdown(name)).gridPos({ x: 0, y: i * HEIGHT, w: 24, h: HEIGHT }))
  }
  console.log(JSON.stringify(dashboard.build(), null, 2))
}
